#![no_main]

use apet_checkpoint::shards_of_index;
use apet_fuzz as _; // its allocator
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for ending in [".safetensors", ".bin"] {
        for file in shards_of_index("x", text, ending).unwrap_or_default() {
            assert!(!file.contains('/') && file.ends_with(ending));
        }
    }
});
