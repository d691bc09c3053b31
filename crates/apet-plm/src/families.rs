//! The families of models: one file and one line in [`families!`] each. A family that
//! `apet-checkpoint` has and this crate doesn't is a compile error.

use apet_checkpoint::Config;

use crate::{blocks::Network, family::Family, footprint::Footprint, loader::Loader};

/// Declares each family's module, and the functions over all of them.
macro_rules! families {
    ($($file:ident::$name:ident,)+) => {
        $(mod $file;)+

        /// Loads a network, and gives the prefixes of the tensors that it does not use.
        pub(crate) fn load(config: &Config, l: &mut Loader<'_>) -> (Network, Vec<String>) {
            match config {
                $(Config::$name(config) => {
                    let family = $file::$name::load(config, l);
                    let unused = family.unused();
                    (family.network(), unused)
                })+
            }
        }

        /// What each block keeps for its gradients, in the order of the forward pass.
        pub(crate) fn footprints(config: &Config) -> Vec<Footprint> {
            match config {
                $(Config::$name(config) => $file::$name::footprints(config),)+
            }
        }
    };
}

families! {
    bert::Bert,
    mpnet::Mpnet,
    bloom::Bloom,
    llama::Llama,
    gpt_neox::GptNeoX,
    t5::T5,
}
