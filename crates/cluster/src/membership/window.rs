//! Which datagrams of a peer have been taken already: a bound on replays.
//!
//! The sliding window of RFC 4303 (section 3.4.3), begun anew by every process of the peer.

use super::incarnation::Incarnation;

/// How far datagrams may overtake each other.
const WIDTH: u64 = 128;

/// The datagrams taken of one peer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    process: u64,
    start: u32,
    highest: u64,
    /// Bit n stands for the number `highest - n`.
    seen: u128,
}

impl Window {
    /// Takes a datagram by its process, incarnation and number; false if it is a replay or comes
    /// from a process that was replaced.
    pub(super) fn take(&mut self, process: u64, from: Incarnation, number: u64) -> bool {
        if from.start > self.start || self.process == 0 {
            *self = Window { process, start: from.start, highest: number, seen: 1 };
            return true;
        }
        if from.start < self.start || process != self.process {
            return false;
        }
        if number > self.highest {
            let ahead = number - self.highest;
            let shift = u32::try_from(ahead).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(shift).unwrap_or(0) | 1;
            self.highest = number;
            return true;
        }
        let behind = self.highest - number;
        if behind >= WIDTH {
            return false;
        }
        let bit = 1 << behind;
        let fresh = self.seen & bit == 0;
        self.seen |= bit;
        fresh
    }

    /// The latest start number of the peer; zero before it was heard of.
    pub(super) const fn start(&self) -> u32 {
        self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_taken_once_and_only_while_it_is_recent() {
        let life = Incarnation::of_start(3);
        let mut window = Window::default();
        let mut take = |number| window.take(9, life, number);
        assert!(take(5) && !take(5));
        assert!(take(4), "overtaken by one");
        assert!(!take(4));
        assert!(take(300) && !take(5), "too far behind to be told from a replay");
        assert!(take(300 - (WIDTH - 1)) && !take(300 - WIDTH));
        assert!(take(301) && !take(300));
        assert!(take(u64::MAX) && !take(u64::MAX));
    }

    #[test]
    fn a_later_process_begins_anew_and_an_earlier_one_is_over() {
        let mut window = Window::default();
        assert!(window.take(9, Incarnation::of_start(3), 1000));
        assert!(window.take(9, Incarnation { start: 3, renewal: 4 }, 1001));
        assert!(window.take(10, Incarnation::of_start(4), 1));
        assert!(!window.take(9, Incarnation::of_start(3), 1002));
        assert!(!window.take(11, Incarnation::of_start(4), 2), "two processes of one start");
        assert_eq!(window.start(), 4);
    }
}
