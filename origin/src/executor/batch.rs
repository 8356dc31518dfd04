//! The rows of one or several requests, as an executor takes them.

use std::ops::Range;

use shared_model::encode::Data;

/// The rows to score.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// How many requests there are.
    pub requests: usize,
    /// For each candidate, the index of its request.
    pub owner: Vec<u32>,
    /// In the order of the graph's inputs: a row a request for one of request scope, else a row a candidate.
    pub inputs: Vec<Data>,
}

impl Batch {
    /// The requests of several batches for one graph in one batch, in their order.
    ///
    /// Nothing is checked: of batches that fit the graph comes one that does, and of others one that is refused.
    #[must_use]
    pub fn join<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut parts = parts.into_iter();
        let mut joined = parts.next().cloned().unwrap_or_default();
        for part in parts {
            let before = u32::try_from(joined.requests).unwrap_or(u32::MAX);
            joined.requests += part.requests;
            joined.owner.extend(part.owner.iter().map(|owner| owner.saturating_add(before)));
            for (all, own) in joined.inputs.iter_mut().zip(&part.inputs) {
                append(all, own);
            }
        }
        joined
    }
}

fn append(all: &mut Data, own: &Data) {
    match (all, own) {
        (Data::F32(all), Data::F32(own)) => all.extend_from_slice(own),
        (Data::I32(all), Data::I32(own)) => all.extend_from_slice(own),
        // A block too short, which no graph takes.
        (Data::F32(_), Data::I32(_)) | (Data::I32(_), Data::F32(_)) => {}
    }
}

/// Some elements of a block, and zeros up to `length`; all of them are moved out of it.
pub(super) fn rows(data: &mut Data, elements: Range<usize>, length: usize) -> Data {
    fn pick<T: Clone + Default>(all: &mut Vec<T>, elements: Range<usize>, length: usize) -> Vec<T> {
        let mut own = if elements == (0..all.len()) { std::mem::take(all) } else { all[elements].to_vec() };
        own.resize(length, T::default());
        own
    }
    match data {
        Data::F32(v) => Data::F32(pick(v, elements, length)),
        Data::I32(v) => Data::I32(pick(v, elements, length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(requests: usize, owner: &[u32], user: &[f32], item: &[i32]) -> Batch {
        let inputs = vec![Data::F32(user.to_vec()), Data::I32(item.to_vec())];
        Batch { requests, owner: owner.to_vec(), inputs }
    }

    #[test]
    fn requests_follow_each_other_with_their_candidates() {
        let parts =
            [batch(1, &[0, 0], &[1.0], &[7, 8]), batch(1, &[], &[2.0], &[]), batch(2, &[1, 0], &[3.0, 4.0], &[9, 10])];
        let joined = batch(4, &[0, 0, 3, 2], &[1.0, 2.0, 3.0, 4.0], &[7, 8, 9, 10]);
        assert_eq!(Batch::join(&parts), joined);
        assert_eq!(Batch::join(&parts[..1]), parts[0]);
    }
}
