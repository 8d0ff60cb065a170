//! The repository keeps its own rules: what `cargo xtask tidy` checks, as a test.

use std::path::Path;

use xtask::tidy::{self, Tree};

#[test]
fn the_repository_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let violations = tidy::check(&Tree::read(root).unwrap());
    let text: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(text.is_empty(), "\n{}\n", text.join("\n"));
}
