//! A file as memory: its pages come and go with what is read.

use std::fs::File;
use std::path::Path;

use apet_checkpoint::ReadAt;

/// A mapped file.
#[derive(Debug)]
pub struct Mapped(memmap2::Mmap);

impl Mapped {
    /// Maps a file for reading.
    ///
    /// # Errors
    /// When it cannot be opened or mapped.
    #[expect(
        unsafe_code,
        reason = "mapping a file is unsafe: who cuts it while it is read ends the process. \
                  The store replaces files by renaming and never writes into one"
    )]
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: nothing of this program writes into a file once it has its name.
        Ok(Self(unsafe { memmap2::Mmap::map(&file)? }))
    }
}

impl ReadAt for Mapped {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), String> {
        (&self.0[..]).read_at(offset, into)
    }
}
