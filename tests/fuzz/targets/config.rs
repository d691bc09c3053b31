#![no_main]

use apet_checkpoint::{Config, config::Special};
use apet_fuzz as _; // its allocator
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(config) = Config::read("x", text) {
        assert!(config.hidden() > 0 && config.layers() > 0 && config.vocabulary() > 0);
        assert!(config.max_length() > 0 && !config.family().is_empty());
    }
    let _ = Special::read("x", text);
});
