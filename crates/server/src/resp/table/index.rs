//! Finds commands by name: a hash table that is built when the program is compiled.

use super::{COMMANDS, Command};

/// Places of the index: a power of two, several times the number of commands.
const PLACES: usize = 512;
/// An empty place.
const NONE: u8 = u8::MAX;

/// For each hash of a name the index of the command, found by linear probing.
static INDEX: [u8; PLACES] = index();

/// FNV-1a over the name in lower case.
const fn hash(name: &[u8]) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    let mut rest = name;
    while let [byte, behind @ ..] = rest {
        hash = (hash ^ byte.to_ascii_lowercase() as u32).wrapping_mul(0x0100_0193);
        rest = behind;
    }
    (hash ^ (hash >> 16)) as usize % PLACES
}

// Constant evaluation: an index out of range would not compile.
#[allow(clippy::indexing_slicing)]
const fn index() -> [u8; PLACES] {
    let mut places = [NONE; PLACES];
    let mut at = 0;
    while at < COMMANDS.len() {
        let mut place = hash(COMMANDS[at].name.as_bytes());
        while places[place] != NONE {
            place = (place + 1) % PLACES;
        }
        places[place] = at as u8;
        at += 1;
    }
    places
}

/// The index of the command with this name, in any case.
pub(in crate::resp) fn index_of(name: &[u8]) -> Option<usize> {
    let start = hash(name);
    let places = INDEX.iter().skip(start).chain(INDEX.iter().take(start));
    for &place in places.take_while(|&&place| place != NONE) {
        let index = usize::from(place);
        if COMMANDS.get(index)?.name.as_bytes().eq_ignore_ascii_case(name) {
            return Some(index);
        }
    }
    None
}

/// The command with this name, in any case.
pub(in crate::resp) fn find(name: &[u8]) -> Option<&'static Command> {
    COMMANDS.get(index_of(name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_by_its_name_in_any_case() {
        assert!(COMMANDS.len() < usize::from(NONE));
        for (index, command) in COMMANDS.iter().enumerate() {
            assert_eq!(index_of(command.name.as_bytes()), Some(index), "{}", command.name);
            assert_eq!(index_of(command.name.to_uppercase().as_bytes()), Some(index));
        }
        for name in ["", "ge", "gets", "LPUSH", "get\0"] {
            assert_eq!(index_of(name.as_bytes()), None, "{name:?}");
        }
    }
}
