#![no_main]

use apet_checkpoint::Tokenizer;
use apet_fuzz as _; // its allocator
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(tokenizer) = Tokenizer::read("x", data, 1 << 20) else {
        return;
    };
    let texts = [
        ("It is fine, 123.", None),
        ("été\u{0301} 東京", Some("\u{200b}b")),
    ];
    for encoded in tokenizer.encode(texts, 8).unwrap_or_default() {
        let _ = tokenizer.decode(&encoded.ids);
    }
    let _ = tokenizer.plain("x y");
});
