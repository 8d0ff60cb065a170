//! A table that hands out ids and never confuses an old id with a new entry.

/// Entries addressed by ids. An id is never handed out twice within 2^32 uses of its place.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    entry: Option<T>,
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Slots<T> {
        Slots { places: Vec::new(), free: Vec::new() }
    }

    /// Adds an entry and returns its id.
    pub(crate) fn insert(&mut self, entry: T) -> u64 {
        if let Some(at) = self.free.pop()
            && let Some(place) = self.places.get_mut(at as usize)
        {
            place.entry = Some(entry);
            return id_of(place.generation, at);
        }
        let at = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.places.push(Place { generation: 0, entry: Some(entry) });
        id_of(0, at)
    }

    /// The entry with an id, if it is still there.
    pub(crate) fn get(&self, id: u64) -> Option<&T> {
        let (generation, at) = parts_of(id);
        let place = self.places.get(at as usize)?;
        place.entry.as_ref().filter(|_| place.generation == generation)
    }

    /// The entry with an id, if it is still there.
    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        let (generation, at) = parts_of(id);
        let place = self.places.get_mut(at as usize)?;
        place.entry.as_mut().filter(|_| place.generation == generation)
    }

    /// Takes the entry with an id out, if it is still there.
    pub(crate) fn remove(&mut self, id: u64) -> Option<T> {
        let (generation, at) = parts_of(id);
        let place = self.places.get_mut(at as usize)?;
        if place.generation != generation {
            return None;
        }
        let entry = place.entry.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(at);
        Some(entry)
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// All entries, in the order of their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|place| place.entry.as_ref())
    }
}

fn id_of(generation: u32, at: u32) -> u64 {
    (u64::from(generation) << 32) | u64::from(at)
}

fn parts_of(id: u64) -> (u32, u32) {
    ((id >> 32) as u32, (id & u64::from(u32::MAX)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_id_does_not_reach_the_entry_that_took_its_place() {
        let mut slots = Slots::new();
        let first = slots.insert("first");
        assert_eq!(slots.remove(first), Some("first"));
        let second = slots.insert("second");
        assert_eq!((slots.get(first), slots.get(second)), (None, Some(&"second")));
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.len(), 1);
    }
}
