//! Studies that are to be run: a grid as its file says it, and the grid's runs by number.

pub(crate) mod grid;
pub(crate) mod runs;
