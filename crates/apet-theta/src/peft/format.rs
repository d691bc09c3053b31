//! A form of peft's adapters.

use apet_plm::SiteId;
use apet_record::Method;

use crate::{
    error::FileError,
    peft::{
        config::Config,
        pieces::{Pieces, Written},
        reader::{Found, Reader},
    },
};

/// Makes the method that adds the same deltas as an adapter.
pub(crate) type ReadMethod = fn(&Config) -> Result<Method, FileError>;

/// A form of peft's adapters, registered with the deltas it holds.
pub struct PeftFormat {
    /// What pieces call it.
    pub id: &'static str,
    /// The field `peft_type`.
    pub peft_type: &'static str,
    /// Fields of `adapter_config.json` that it understands and other formats do not.
    pub fields: &'static [&'static str],
    /// Whether it is the form of an adapter of its `peft_type`.
    pub claims: fn(&Config) -> bool,
    /// The method that adds the same deltas, if there is one.
    pub method: Option<ReadMethod>,
    /// Reads an adapter's deltas.
    pub read: fn(&mut Reader<'_>, &mut Found) -> Result<(), FileError>,
    /// The sites whose frozen tensors the writer needs.
    pub frozen: fn(&Pieces<'_>) -> Vec<SiteId>,
    /// Writes pieces of this format.
    pub write: fn(&Pieces<'_>) -> Result<Written, FileError>,
}
