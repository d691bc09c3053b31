#![no_main]

use apet_checkpoint::{Config, Gguf, Tokenizer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(gguf) = Gguf::open("x", data) else {
        return;
    };
    apet_fuzz::read_all(&gguf);
    if let Ok(config) = gguf.config() {
        let _ = Config::read("x", &config);
    }
    if let Ok(tokenizer) = gguf.tokenizer() {
        let _ = Tokenizer::read("x", tokenizer.as_bytes(), 1 << 20);
    }
});
