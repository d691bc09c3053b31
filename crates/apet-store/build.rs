//! The page is part of the binary: it is compiled again when the page is built.

fn main() {
    // While there is no page yet, cargo looks again at every build.
    println!("cargo:rerun-if-changed=../../web/dist");
}
