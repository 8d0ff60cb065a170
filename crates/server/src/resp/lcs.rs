//! LCS: the longest common subsequence of two values (redis-server's `lcsCommand`).

use bytes::Bytes;
use kvorum_core::{Item, Step, Txn};

use super::call::Call;
use super::error::ErrorReply;
use super::plan::{Plan, Planned, incomplete, refused};
use super::queue::Finish;

/// The most cells the table may have: the product of the lengths, each with one added. It takes
/// four bytes and a few nanoseconds per cell, and all other requests wait meanwhile.
const MAX_CELLS: usize = 1 << 22;

/// What is told of the subsequence.
#[derive(Clone, Copy)]
struct Options {
    /// Its length instead of itself.
    len: bool,
    /// Where its parts lie in both values.
    idx: bool,
    /// How long each part is.
    with_match_len: bool,
    /// Parts that are shorter are left out.
    min_match_len: usize,
}

/// `LCS key key [LEN] [IDX] [MINMATCHLEN length] [WITHMATCHLEN]`
pub(super) fn lcs(call: &mut Call<'_, '_>) -> Planned {
    let options = options(call)?;
    let then = vec![Step::read(call.key(1)?), Step::read(call.key(2)?)];
    Plan::of(Txn { then, ..Txn::default() }, move |answer, finish| {
        answer.steps.iter().try_for_each(refused)?;
        let mut values = answer.steps.into_iter().map(|done| text(done.previous));
        let (Some(a), Some(b)) = (values.next(), values.next()) else { return Err(incomplete()) };
        let table = Table::new(&a, &b).ok_or_else(|| {
            ErrorReply::err(format!(
                "Insufficient memory for LCS: the product of both lengths, each with one added, is \
                 at most {MAX_CELLS}; use GET of both keys and compare the values yourself"
            ))
        })?;
        say(&table, options, finish);
        Ok(())
    })
}

fn options(call: &Call<'_, '_>) -> Result<Options, ErrorReply> {
    let mut options = Options { len: false, idx: false, with_match_len: false, min_match_len: 0 };
    let mut words = call.args_from(3).iter();
    while let Some(word) = words.next() {
        if word.is("IDX") {
            options.idx = true;
        } else if word.is("LEN") {
            options.len = true;
        } else if word.is("WITHMATCHLEN") {
            options.with_match_len = true;
        } else if word.is("MINMATCHLEN") {
            let length = words.next().ok_or_else(ErrorReply::syntax)?;
            let length = length.integer().ok_or_else(ErrorReply::not_an_integer)?;
            options.min_match_len = usize::try_from(length).unwrap_or(0);
        } else {
            return Err(ErrorReply::syntax());
        }
    }
    if options.len && options.idx {
        let text = "If you want both the length and indexes, please just use IDX.";
        return Err(ErrorReply::err(text));
    }
    Ok(options)
}

fn text(item: Option<Item>) -> Bytes {
    item.map(|item| item.value).unwrap_or_default()
}

fn say(table: &Table<'_>, options: Options, finish: &mut Finish<'_>) {
    let length = table.length();
    if options.len {
        return finish.out.count(length as u64);
    }
    let mut parts = table.parts();
    if !options.idx {
        // The parts come from the last to the first.
        parts.reverse();
        let bytes: Vec<u8> = parts.iter().flat_map(|part| table.bytes(part)).copied().collect();
        return finish.out.bulk(&bytes);
    }
    parts.retain(|part| part.len >= options.min_match_len);
    finish.out.map(2);
    finish.out.bulk(b"matches");
    finish.out.array(parts.len());
    for Part { a, b, len } in parts {
        finish.out.array(2 + usize::from(options.with_match_len));
        for start in [a, b] {
            finish.out.array(2);
            finish.out.count(start as u64);
            finish.out.count((start + len - 1) as u64);
        }
        if options.with_match_len {
            finish.out.count(len as u64);
        }
    }
    finish.out.bulk(b"len");
    finish.out.count(length as u64);
}

/// Bytes that follow each other in both texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    /// Where they begin in the first text.
    a: usize,
    /// And in the second.
    b: usize,
    len: usize,
}

/// The lengths of the longest common subsequences of all beginnings of two texts.
struct Table<'a> {
    a: &'a [u8],
    b: &'a [u8],
    /// For the first `i` bytes of `a` and `j` of `b` at `i * (b.len() + 1) + j`.
    lengths: Vec<u32>,
}

impl<'a> Table<'a> {
    /// Nothing if it would be too large.
    fn new(a: &'a [u8], b: &'a [u8]) -> Option<Table<'a>> {
        let width = b.len() + 1;
        let cells = width.checked_mul(a.len() + 1).filter(|&cells| cells <= MAX_CELLS)?;
        let mut lengths = Vec::with_capacity(cells);
        lengths.resize(width, 0);
        for &of_a in a {
            let above = lengths.len() - width;
            let (mut left, mut diagonal) = (0, 0);
            lengths.push(0);
            for (at, &of_b) in (above + 1..).zip(b) {
                let up = lengths.get(at).copied().unwrap_or(0);
                left = if of_a == of_b { diagonal + 1 } else { left.max(up) };
                diagonal = up;
                lengths.push(left);
            }
        }
        Some(Table { a, b, lengths })
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.lengths.get(i * (self.b.len() + 1) + j).copied().unwrap_or(0)
    }

    /// The length of the longest common subsequence.
    fn length(&self) -> usize {
        self.at(self.a.len(), self.b.len()) as usize
    }

    /// The parts of one such subsequence, the last one first. Of several it is the one that
    /// redis-server finds: from the end, where the bytes differ, `b` is shortened first.
    fn parts(&self) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        let (mut i, mut j) = (self.a.len(), self.b.len());
        while let (Some(of_a), Some(of_b)) = (last(self.a, i), last(self.b, j)) {
            if of_a == of_b {
                (i, j) = (i - 1, j - 1);
                match parts.last_mut().filter(|part| (part.a, part.b) == (i + 1, j + 1)) {
                    Some(part) => *part = Part { a: i, b: j, len: part.len + 1 },
                    None => parts.push(Part { a: i, b: j, len: 1 }),
                }
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        parts
    }

    /// The bytes of a part.
    fn bytes(&self, part: &Part) -> &'a [u8] {
        self.a.get(part.a..part.a + part.len).unwrap_or_default()
    }
}

/// The last of the first `len` bytes.
fn last(text: &[u8], len: usize) -> Option<u8> {
    text.get(len.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_subsequence(part: &[u8], whole: &[u8]) -> bool {
        let mut rest = whole.iter();
        part.iter().all(|byte| rest.any(|other| other == byte))
    }

    /// The length by trying all subsets.
    fn longest(a: &[u8], b: &[u8]) -> usize {
        let chosen = |set: u32| -> Vec<u8> {
            (0..a.len()).filter(|at| set & (1 << at) != 0).map(|at| a[at]).collect()
        };
        let common = (0..1_u32 << a.len()).map(chosen).filter(|part| is_subsequence(part, b));
        common.map(|part| part.len()).max().unwrap()
    }

    #[test]
    fn the_subsequence_is_common_and_no_other_is_longer() {
        let texts: [&[u8]; 9] =
            [b"", b"a", b"b", b"ohmytext", b"mynewtext", b"aaaa", b"abcabba", b"cbabac", b"xaybzc"];
        for a in texts {
            for b in texts {
                let table = Table::new(a, b).unwrap();
                let parts = table.parts();
                let found: Vec<u8> =
                    parts.iter().rev().flat_map(|part| table.bytes(part)).copied().collect();
                assert!(is_subsequence(&found, a) && is_subsequence(&found, b));
                assert_eq!((found.len(), table.length()), (longest(a, b), found.len()));
                assert!(parts.iter().all(|part| table.bytes(part) == &b[part.b..][..part.len]));
            }
        }
    }

    #[test]
    fn what_would_take_too_much_memory_is_refused() {
        let text = vec![b'x'; 2047];
        assert!(Table::new(&text, &text).is_some());
        assert!(Table::new(&text, &[&text[..], b"x"].concat()).is_none());
    }
}
