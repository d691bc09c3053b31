#![no_main]

use apet_checkpoint::Safetensors;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(weights) = Safetensors::open("x", [("x".to_owned(), data)]) {
        apet_fuzz::read_all(&weights);
    }
});
