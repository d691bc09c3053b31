//! Files of the origin's private file system, through synchronous handles: what
//! is written is there when the call returns.

use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    DedicatedWorkerGlobalScope, FileSystemDirectoryHandle, FileSystemFileHandle,
    FileSystemGetDirectoryOptions, FileSystemGetFileOptions, FileSystemReadWriteOptions,
    FileSystemSyncAccessHandle,
};

/// A folder of the origin's private file system by its path, made if it is not there.
pub(crate) async fn folder(path: &str) -> Result<FileSystemDirectoryHandle, JsValue> {
    let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
    let root = JsFuture::from(scope.navigator().storage().get_directory()).await?;
    let mut folder: FileSystemDirectoryHandle = root.unchecked_into();
    let options = FileSystemGetDirectoryOptions::new();
    options.set_create(true);
    for name in path.split('/') {
        let inner = folder.get_directory_handle_with_options(name, &options);
        folder = JsFuture::from(inner).await?.unchecked_into();
    }
    Ok(folder)
}

/// Removes a file; one that is not there is no error.
pub(crate) async fn remove(folder: &FileSystemDirectoryHandle, name: &str) {
    let _ = JsFuture::from(folder.remove_entry(name)).await;
}

/// An open file.
pub(crate) struct OpenFile {
    handle: FileSystemSyncAccessHandle,
    name: String,
}

impl OpenFile {
    /// Opens a file for reading and writing, made if it is not there.
    pub(crate) async fn open(
        folder: &FileSystemDirectoryHandle,
        name: &str,
    ) -> Result<Self, JsValue> {
        let options = FileSystemGetFileOptions::new();
        options.set_create(true);
        let file = folder.get_file_handle_with_options(name, &options);
        let file: FileSystemFileHandle = JsFuture::from(file).await?.unchecked_into();
        let handle = JsFuture::from(file.create_sync_access_handle()).await?;
        Ok(Self {
            handle: handle.unchecked_into(),
            name: name.to_owned(),
        })
    }

    /// The whole content.
    pub(crate) fn read(&self) -> Result<Vec<u8>, String> {
        let size = self.handle.get_size().map_err(|e| self.sentence(&e))?;
        let mut bytes = vec![0; size as usize];
        let read = self.read_at(0.0, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Fills `into` from an offset on, as far as the file goes; gives the bytes read.
    pub(crate) fn read_at(&self, offset: f64, into: &mut [u8]) -> Result<usize, String> {
        let options = FileSystemReadWriteOptions::new();
        options.set_at(offset);
        let read = self.handle.read_with_u8_array_and_options(into, &options);
        read.map(|bytes| bytes as usize)
            .map_err(|e| self.sentence(&e))
    }

    /// Writes bytes at an offset, all of them or an error.
    pub(crate) fn write(&self, bytes: &[u8], at: f64) -> Result<(), String> {
        let options = FileSystemReadWriteOptions::new();
        options.set_at(at);
        let written = self.handle.write_with_u8_array_and_options(bytes, &options);
        let written = written.map_err(|e| self.sentence(&e))?;
        if written as usize == bytes.len() {
            Ok(())
        } else {
            Err(format!(
                "{}: no space is left for this site's files; delete runs or models and resume",
                self.name
            ))
        }
    }

    /// Cuts or lengthens the file.
    pub(crate) fn truncate(&self, size: f64) -> Result<(), String> {
        self.handle
            .truncate_with_f64(size)
            .map_err(|e| self.sentence(&e))
    }

    /// Waits until what was written is safe.
    pub(crate) fn flush(&self) -> Result<(), String> {
        self.handle.flush().map_err(|e| self.sentence(&e))
    }

    fn sentence(&self, error: &JsValue) -> String {
        let why = error
            .dyn_ref::<js_sys::Error>()
            .map_or_else(|| format!("{error:?}"), |e| String::from(e.message()));
        format!(
            "{}: {why}; delete runs or models if the browser's space is full, then resume",
            self.name
        )
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        // An open handle keeps every other one away from the file.
        self.handle.close();
    }
}
