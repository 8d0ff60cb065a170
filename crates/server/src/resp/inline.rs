//! Inline commands: a line of words, as typed into a terminal.

use super::arg::Arg;

/// Splits a line into words. Words are separated by spaces; double quotes take the escapes
/// `\n \r \t \b \a \xHH` and a backslash before any other byte, single quotes take `\'`. A closing
/// quote must be followed by a space or the end, as in redis-server.
///
/// Nothing is returned if a quote is not closed.
pub(super) fn split(line: &[u8]) -> Option<Vec<Arg>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let mut word = Vec::new();
        rest = take_word(rest, &mut word)?.trim_ascii_start();
        words.push(Arg::copy(&word));
    }
    Some(words)
}

/// Moves one word from the beginning of `rest` into `word` and returns what follows.
fn take_word<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest.split_first() {
            None => return Some(rest),
            Some((byte, _)) if byte.is_ascii_whitespace() => return Some(rest),
            Some((b'"', inside)) => return take_quoted(inside, b'"', word),
            Some((b'\'', inside)) => return take_quoted(inside, b'\'', word),
            Some((&byte, after)) => {
                word.push(byte);
                after
            }
        }
    }
}

fn take_quoted<'a>(mut rest: &'a [u8], quote: u8, word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        if byte == quote {
            let ended = rest.first().is_none_or(u8::is_ascii_whitespace);
            return ended.then_some(rest);
        }
        if byte != b'\\' {
            word.push(byte);
            continue;
        }
        let (unescaped, after) = unescape(rest, quote)?;
        word.push(unescaped);
        rest = after;
    }
}

/// The byte that an escape stands for (`rest` begins behind the backslash), and what follows.
fn unescape(rest: &[u8], quote: u8) -> Option<(u8, &[u8])> {
    if quote == b'\'' {
        return Some(match rest {
            [b'\'', after @ ..] => (b'\'', after),
            _ => (b'\\', rest),
        });
    }
    if let [b'x', high, low, after @ ..] = rest
        && let (Some(high), Some(low)) = (hex(*high), hex(*low))
    {
        return Some((high << 4 | low, after));
    }
    let (&byte, after) = rest.split_first()?;
    let unescaped = match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    };
    Some((unescaped, after))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<String>> {
        let words = split(line.as_bytes())?;
        Some(words.iter().map(|word| word.as_slice().escape_ascii().to_string()).collect())
    }

    #[test]
    fn words_quotes_and_escapes_are_read_as_redis_reads_them() {
        for (line, expected) in [
            ("", Some(vec![])),
            ("  get \t key ", Some(vec!["get", "key"])),
            (r#"set "a b" 'c d'"#, Some(vec!["set", "a b", "c d"])),
            (r#""\x41\x4G\n\"\\\q""#, Some(vec![r#"Ax4G\n\"\\q"#])),
            (r"'\x41\''", Some(vec![r"\\x41\'"])),
            (r#"a"b c""#, Some(vec!["ab c"])),
            (r#""" a"#, Some(vec!["", "a"])),
            (r#"set "a"b"#, None),
            (r#"set "a"#, None),
            (r#"set "a\"#, None),
            ("set 'a", None),
        ] {
            let expected =
                expected.map(|words| words.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(words(line), expected, "{line}");
        }
    }
}
