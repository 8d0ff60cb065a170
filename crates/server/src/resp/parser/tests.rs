//! The parser against hostile bytes and every way to split them.

use bytes::{BufMut, BytesMut};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

use super::{Command, Parser, ProtocolError, Rejection};
use crate::resp::arg::Arg;

const MAX_VALUE: usize = 100_000;

/// Feeds the pieces one after another and returns the commands and how it ended.
fn parse(pieces: &[&[u8]]) -> (Vec<Command>, Result<usize, ProtocolError>) {
    let mut parser = Parser::new();
    let mut input = BytesMut::new();
    let mut commands = Vec::new();
    for piece in pieces {
        input.put_slice(piece);
        loop {
            match parser.next(&mut input, MAX_VALUE) {
                Ok(Some(command)) => commands.push(command),
                Ok(None) => break,
                Err(error) => return (commands, Err(error)),
            }
        }
        let limit = 2 * MAX_VALUE + super::COMMAND_SLACK;
        assert!(parser.held() + input.len() <= limit, "the parser holds too much");
    }
    (commands, Ok(input.len()))
}

fn words(words: &[&str]) -> Command {
    Command { args: words.iter().map(|word| Arg::copy(word.as_bytes())).collect(), rejected: None }
}

fn encode(words: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

#[test]
fn arrays_and_lines_follow_each_other() {
    let (commands, end) =
        parse(&[b"*2\r\n$3\r\nGET\r\n$1\r\na\r\nPING\r\n\r\n*0\r\n*-1\r\nget b\n*1"]);
    assert_eq!(commands, [words(&["GET", "a"]), words(&["PING"]), words(&["get", "b"])]);
    assert_eq!(end, Ok(2));
}

#[test]
fn violations_are_named_as_redis_names_them() {
    for (bytes, text) in [
        (&b"*x\r\n"[..], "invalid multibulk length"),
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*999999999999999999999999", "invalid multibulk length"),
        (b"*1\r\nx", "expected '$', got 'x'"),
        (b"*1\r\n\r\n", "expected '$', got ' '"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*1\r\n$4x", "invalid bulk length"),
        (b"get \"x\r\n", "unbalanced quotes in request"),
    ] {
        let (_, end) = parse(&[bytes]);
        assert_eq!(end.unwrap_err().to_string(), text, "{}", bytes.escape_ascii());
    }
    let line = vec![b'x'; super::MAX_INLINE + 1];
    assert_eq!(parse(&[&line]).1, Err(ProtocolError::InlineTooLong));
}

#[test]
fn an_argument_that_is_too_long_is_skipped_and_the_next_command_is_read() {
    let big = vec![b'v'; MAX_VALUE + 1];
    let mut bytes = encode(&[b"SET".to_vec(), b"k".to_vec(), big.clone(), b"EX".to_vec()]);
    bytes.extend_from_slice(b"PING\r\n");
    let pieces: Vec<&[u8]> = bytes.chunks(4096).collect();
    let (commands, _) = parse(&pieces);
    assert_eq!(commands[0].rejected, Some(Rejection::Argument(2, big.len())));
    assert_eq!(commands[0].args.len(), 2);
    assert_eq!(commands[1], words(&["PING"]));
}

#[test]
fn a_command_that_is_too_large_is_skipped_as_a_whole() {
    let mut parts = vec![b"MSET".to_vec()];
    parts.resize(60, vec![b'v'; MAX_VALUE]);
    let mut bytes = encode(&parts);
    bytes.extend_from_slice(b"PING\r\n");
    let pieces: Vec<&[u8]> = bytes.chunks(50_000).collect();
    let (commands, _) = parse(&pieces);
    assert!(matches!(commands[0].rejected, Some(Rejection::Command(_))));
    assert_eq!(commands[1], words(&["PING"]));
}

#[test]
fn a_command_with_too_many_arguments_is_skipped_but_for_its_name() {
    let most = usize::try_from(super::MAX_ARGS).unwrap();
    let mut bytes = encode(&vec![b"DEL".to_vec(); most]);
    bytes.extend_from_slice(&encode(&vec![b"DEL".to_vec(); most + 1]));
    bytes.extend_from_slice(b"PING\r\n");
    let pieces: Vec<&[u8]> = bytes.chunks(50_000).collect();
    let (commands, _) = parse(&pieces);
    assert_eq!((commands[0].args.len(), commands[0].rejected), (most, None));
    assert_eq!(commands[1].rejected, Some(Rejection::Count(super::MAX_ARGS + 1)));
    assert_eq!(commands[1].args.len(), 1);
    assert_eq!(commands[2], words(&["PING"]));
}

#[test]
fn an_announced_length_alone_takes_no_memory() {
    let mut parser = Parser::new();
    let mut input = BytesMut::from(&b"*60000\r\n$3\r\nSET\r\n$100000\r\nabc"[..]);
    assert_eq!(parser.next(&mut input, MAX_VALUE), Ok(None));
    assert!(parser.held() < 200 && input.is_empty());
}

fn word() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..60),
        1 => (16_000_usize..18_000).prop_map(|len| vec![b'v'; len]),
        1 => (99_990_usize..100_010).prop_map(|len| vec![b'v'; len]),
    ]
}

/// Bytes that look enough like requests to get deep into the parser.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(b"*3\r\n".to_vec()),
        Just(b"$3\r\nGET\r\n".to_vec()),
        Just(b"$5\r\n".to_vec()),
        Just(b"$20000\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\"".to_vec()),
        prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat())
}

/// Cuts bytes into pieces of the given lengths, used in turn.
fn cut<'a>(mut bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for &len in lengths.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at(len.min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

proptest! {
    #[test]
    fn every_split_of_the_same_bytes_gives_the_same_commands(
        commands in prop::collection::vec(prop::collection::vec(word(), 1..6), 1..6),
        lengths in prop::collection::vec(1_usize..5000, 1..8),
    ) {
        let bytes: Vec<u8> = commands.iter().flat_map(|words| encode(words)).collect();
        let (whole, end) = parse(&[&bytes]);
        assert_eq!(end, Ok(0));
        assert_eq!(whole.len(), commands.len());
        for (parsed, sent) in whole.iter().zip(&commands) {
            if parsed.rejected.is_none() {
                assert!(parsed.args.iter().map(Arg::as_slice).eq(sent.iter().map(Vec::as_slice)));
            } else {
                assert!(sent.iter().any(|word| word.len() > MAX_VALUE));
            }
        }
        assert_eq!(parse(&cut(&bytes, &lengths)), (whole, end));
    }

    #[test]
    fn noise_never_panics_and_splits_of_it_agree(
        bytes in noise(),
        lengths in prop::collection::vec(1_usize..30, 1..8),
    ) {
        let (whole, end) = parse(&[&bytes]);
        let (parts, end_of_parts) = parse(&cut(&bytes, &lengths));
        assert_eq!(whole, parts);
        assert_eq!(end.is_err(), end_of_parts.is_err());
    }
}
