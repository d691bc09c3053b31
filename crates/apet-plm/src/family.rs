//! The trait that each file in `families/` implements.

use crate::{blocks::Network, footprint::Footprint, loader::Loader};

/// The network of a family.
pub(crate) trait Family: Sized {
    /// Its config.json.
    type Config;

    /// Loads the network. The order of the loader's calls is that of the sites: it decides where
    /// a placement lands, so it must never change.
    fn load(config: &Self::Config, l: &mut Loader<'_>) -> Self;

    /// Prefixes of the tensors that checkpoints have and this network doesn't use: other heads,
    /// copies of tied tensors, buffers of older versions of transformers.
    fn unused(&self) -> Vec<String>;

    /// The network, by its kind.
    fn network(self) -> Network;

    /// What each block keeps for its gradients, in the order of the forward pass.
    fn footprints(config: &Self::Config) -> Vec<Footprint>;
}
