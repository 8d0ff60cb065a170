//! Tests of the scanner.

use super::*;

fn code_of(text: &str) -> String {
    separate(text).0
}

#[test]
fn comments_and_literals_are_not_code() {
    let text = "let a = \"std::fs // no\"; // std::net\nlet b = 'x'; /* tokio\n/* x */ */ c";
    let (code, comments) = separate(text);
    assert!(!code.contains("std::fs"));
    assert!(!code.contains("std::net"));
    assert!(!code.contains("tokio"));
    assert!(code.trim_end().ends_with('c'));
    assert!(comments.contains("// std::net"));
    assert_eq!(code.lines().count(), text.lines().count());
}

#[test]
fn raw_strings_end_at_their_own_hashes_and_raw_identifiers_are_code() {
    assert_eq!(code_of("r#\"a \" b\"# x").trim(), "x");
    assert_eq!(code_of("br\"\\\" x").replace(' ', ""), "bx");
    assert_eq!(code_of("r#type x"), "r#type x");
}

#[test]
fn lifetimes_are_code_and_quotes_in_characters_do_not_begin_strings() {
    assert_eq!(code_of("fn f<'a>(x: &'a str) {}"), "fn f<'a>(x: &'a str) {}");
    assert_eq!(code_of("'\"' x").trim(), "x");
    assert_eq!(code_of("'\\'' x").trim(), "x");
}

#[test]
fn a_test_module_ends_at_its_closing_brace() {
    let source = Source::parse("a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n  {}\n}\nfn b() {}");
    let tests: Vec<bool> = (1..=6).map(|line| source.is_test(line)).collect();
    assert_eq!(tests, [false, true, true, true, true, false]);
    assert_eq!(source.product_lines(), 2);
}

#[test]
fn a_test_module_in_its_own_file_is_one_line_here_and_wholly_a_test_there() {
    let source = Source::parse("a.rs", "#[cfg(test)]\nmod tests;\nfn b() {}");
    assert!(source.is_test(2));
    assert!(!source.is_test(3));
    assert!(Source::parse("crates/a/src/b/tests.rs", "fn a() {}").is_test(1));
    assert!(Source::parse("crates/a/tests/b.rs", "fn a() {}").is_test(1));
    assert!(!Source::parse("crates/a/src/contests.rs", "fn a() {}").is_test(1));
}

#[test]
fn functions_are_found_with_their_bodies() {
    let source = Source::parse("a.rs", "trait T { fn a(); }\nfn b(x: [u8; 3]) {\n  if x {}\n}\n");
    let found = [Function { name: "b".to_owned(), lines: 2..=4 }];
    assert_eq!(source.functions(), found);
}

#[test]
fn only_lines_with_code_count() {
    let source = Source::parse("a.rs", "fn a() {\n  // why\n\n  b();\n}\n");
    assert_eq!(source.code_lines(&(1..=5)), 3);
}

#[test]
fn a_path_is_named_only_by_whole_words() {
    assert!(names_path("use std::fs;", "std::fs"));
    assert!(names_path("std::fs::read(x)", "std::fs"));
    assert!(!names_path("mystd::fs", "std::fs"));
    assert!(!names_path("std::fsx", "std::fs"));
}
