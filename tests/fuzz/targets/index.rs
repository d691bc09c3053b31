#![no_main]

use apet_checkpoint::shards_of_index;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for file in shards_of_index("x", text).unwrap_or_default() {
        assert!(!file.contains('/') && file.ends_with(".safetensors"));
    }
});
