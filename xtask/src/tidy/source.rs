//! A Rust file taken apart: code, comments, functions, and which lines are tests.
//!
//! A scanner, not a parser: it knows comments, strings and braces, which is enough for rules
//! about names and sizes and never disagrees with the compiler about what is code.

use std::ops::RangeInclusive;

/// A Rust file taken apart. Lines are numbered from 1.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The code of each line: comments and the insides of literals are blanks.
    code: Vec<String>,
    /// The comment on each line, with its slashes; empty where there is none.
    comments: Vec<String>,
    /// Whether each line belongs to a test.
    tests: Vec<bool>,
    functions: Vec<Function>,
}

/// A function with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its lines, from `fn` to the closing brace.
    pub lines: RangeInclusive<usize>,
}

impl Source {
    /// Takes the text of the file at `path` apart.
    #[must_use]
    pub fn parse(path: &str, text: &str) -> Source {
        let (code, comments) = separate(text);
        let mut tests = vec![is_test_file(path); text.lines().count()];
        for region in test_regions(&code) {
            for line in region {
                if let Some(flag) = tests.get_mut(line.saturating_sub(1)) {
                    *flag = true;
                }
            }
        }
        let functions = functions(&code);
        Source { code: lines(&code), comments: lines(&comments), tests, functions }
    }

    /// The code of each line, numbered.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.iter().enumerate().map(|(at, line)| (at + 1, line.as_str()))
    }

    /// The code of each line that is not a test, numbered.
    pub fn product_code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code().filter(|(line, _)| !self.is_test(*line))
    }

    /// The comment on each line, numbered; empty where there is none.
    pub fn comments(&self) -> impl Iterator<Item = (usize, &str)> {
        self.comments.iter().enumerate().map(|(at, line)| (at + 1, line.as_str()))
    }

    /// The functions, in the order of their first lines.
    #[must_use]
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// Whether a line belongs to a test.
    #[must_use]
    pub fn is_test(&self, line: usize) -> bool {
        self.tests.get(line.saturating_sub(1)).copied().unwrap_or(false)
    }

    /// How many lines are not tests.
    #[must_use]
    pub fn product_lines(&self) -> usize {
        self.tests.iter().filter(|test| !**test).count()
    }

    /// How many of the given lines hold code.
    #[must_use]
    pub fn code_lines(&self, lines: &RangeInclusive<usize>) -> usize {
        self.code().filter(|(line, code)| lines.contains(line) && !code.trim().is_empty()).count()
    }
}

/// Whether `path` names the identifier sequence `wanted` (like `std::fs`) as whole words.
#[must_use]
pub fn names_path(code: &str, wanted: &str) -> bool {
    code.match_indices(wanted).any(|(at, _)| {
        let before = code.get(..at).and_then(|text| text.chars().next_back());
        let after = code.get(at + wanted.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

const fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn is_test_file(path: &str) -> bool {
    let parts = path.split('/');
    path.ends_with("/tests.rs")
        || parts.rev().skip(1).any(|part| part == "tests" || part == "benches")
}

/// Splits a text into code and comments, both with the line breaks of the original.
fn separate(text: &str) -> (String, String) {
    let mut rest = text;
    let mut code = String::with_capacity(text.len());
    let mut comments = String::with_capacity(text.len());
    while let Some(first) = rest.chars().next() {
        let (token, kind) = next_token(rest, first, code.chars().next_back());
        rest = rest.get(token.len()..).unwrap_or_default();
        for character in token.chars() {
            let blank = if character == '\n' { '\n' } else { ' ' };
            code.push(if kind == Token::Code { character } else { blank });
            comments.push(if kind == Token::Comment { character } else { blank });
        }
    }
    (code, comments)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Code,
    Comment,
    Literal,
}

/// The token at the start of `rest`: a whole comment, a whole literal, or one character of code.
fn next_token(rest: &str, first: char, before: Option<char>) -> (&str, Token) {
    let take = |length: usize| rest.get(..length).unwrap_or(rest);
    if rest.starts_with("//") {
        return (take(rest.find('\n').unwrap_or(rest.len())), Token::Comment);
    }
    if rest.starts_with("/*") {
        return (take(block_comment_length(rest)), Token::Comment);
    }
    if first == '"' {
        return (take(quoted_length(rest, '"')), Token::Literal);
    }
    let in_word = before.is_some_and(|character| is_word(character) && character != 'b');
    if first == 'r'
        && !in_word
        && let Some(length) = raw_string_length(rest)
    {
        return (take(length), Token::Literal);
    }
    if first == '\'' && is_character_literal(rest) {
        return (take(quoted_length(rest, '\'')), Token::Literal);
    }
    (take(first.len_utf8()), Token::Code)
}

fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(tail) = rest.get(at..).filter(|tail| !tail.is_empty()) {
        if tail.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += tail.chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else if character == quote {
            return at + 1;
        }
    }
    rest.len()
}

/// The length of a raw string beginning at `rest`, or nothing if there is none (`r` may begin an
/// identifier, `r#type` is one).
fn raw_string_length(rest: &str) -> Option<usize> {
    let hashes = rest.chars().skip(1).take_while(|character| *character == '#').count();
    let body = rest.get(1 + hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(1 + hashes + 1 + length)
}

/// A quote begins a character literal unless it begins a lifetime or label.
fn is_character_literal(rest: &str) -> bool {
    let mut characters = rest.chars().skip(1);
    match (characters.next(), characters.next()) {
        (Some('\\'), _) => true,
        (Some(_), second) => second == Some('\''),
        (None, _) => false,
    }
}

/// The number of the line that byte `at` lies on.
fn line_at(code: &str, at: usize) -> usize {
    code.get(..at).map_or(1, |before| before.matches('\n').count() + 1)
}

/// Where the item that begins at `from` ends: behind its closing brace, or its semicolon.
///
/// Also tells where its body begins, if it has one.
fn item_end(code: &str, from: usize) -> (Option<usize>, usize) {
    let mut body = None;
    let mut braces = 0_usize;
    let mut brackets = 0_usize;
    for (offset, character) in code.get(from..).unwrap_or_default().char_indices() {
        let at = from + offset;
        match character {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            '{' => {
                braces += 1;
                body = body.or(Some(at));
            }
            '}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 {
                    return (body, at + 1);
                }
            }
            ';' if braces == 0 && brackets == 0 => return (body, at + 1),
            _ => {}
        }
    }
    (body, code.len())
}

/// The lines of items marked as tests.
fn test_regions(code: &str) -> Vec<RangeInclusive<usize>> {
    let mut regions = Vec::new();
    for marker in ["#[cfg(test)]", "#[cfg(all(test"] {
        for (at, _) in code.match_indices(marker) {
            let behind = code.get(at..).and_then(|tail| tail.find(']')).unwrap_or(0);
            let (_, end) = item_end(code, at + behind + 1);
            regions.push(line_at(code, at)..=line_at(code, end));
        }
    }
    regions
}

fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let before = code.get(..at).and_then(|text| text.chars().next_back());
        let name: String =
            code.get(at + 3..).unwrap_or_default().chars().take_while(|c| is_word(*c)).collect();
        if before.is_some_and(is_word) || name.is_empty() {
            continue;
        }
        if let (Some(_), end) = item_end(code, at) {
            found.push(Function { name, lines: line_at(code, at)..=line_at(code, end) });
        }
    }
    found
}

#[cfg(test)]
mod tests;
