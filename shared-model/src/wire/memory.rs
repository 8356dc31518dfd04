//! How much memory a decoded request takes, which is many times what it was sent as.

use std::mem::size_of;

use super::{Candidate, RankRequest, Raw, Record};

/// What an allocation takes besides what was asked for, at most.
const ALLOCATION: usize = 16;

impl RankRequest {
    /// Its bytes, nearly, with room that its lists have left. At most [`DECODED_TIMES`](crate::limits::DECODED_TIMES) its
    /// length in JSON, but for short ones: lists of candidates begin with room for more than a few.
    #[must_use]
    pub fn memory(&self) -> usize {
        let Self { model, user, context, candidates, exclude, .. } = self;
        let ids: usize = exclude.iter().map(text).sum();
        let candidates = list(candidates) + candidates.iter().map(of_candidate).sum::<usize>();
        size_of::<Self>() + text(model) + record(user) + record(context) + candidates + list(exclude) + ids
    }
}

fn of_candidate(candidate: &Candidate) -> usize {
    text(&candidate.id) + candidate.features.as_ref().map_or(0, record)
}

fn record(record: &Record) -> usize {
    list(&record.0) + record.0.iter().map(|(name, value)| text(name) + raw(value)).sum::<usize>()
}

/// What a value takes beyond its own size.
fn raw(value: &Raw) -> usize {
    match value {
        Raw::Null | Raw::Bool(_) | Raw::Int(_) | Raw::Float(_) => 0,
        Raw::Text(own) => text(own),
        Raw::List(values) => list(values) + values.iter().map(raw).sum::<usize>(),
    }
}

fn text(text: &String) -> usize {
    if text.capacity() == 0 { 0 } else { text.capacity() + ALLOCATION }
}

fn list<T>(list: &Vec<T>) -> usize {
    if list.capacity() == 0 { 0 } else { list.capacity() * size_of::<T>() + ALLOCATION }
}

#[cfg(test)]
mod tests {
    use crate::limits::{DECODED_TIMES, MAX_FIELDS, MAX_LIST};
    use crate::wire::json::{self, JsonLimits};

    /// So many of what `each` makes of their numbers, with commas between.
    fn many(count: usize, each: impl Fn(usize) -> String) -> String {
        (0..count).map(each).collect::<Vec<_>>().join(",")
    }

    /// A short name for a number.
    fn name(mut number: usize) -> String {
        let mut name = String::new();
        loop {
            name.push(char::from(b' ' + 3 + (number % 57) as u8));
            number /= 57;
            if number == 0 {
                return name;
            }
        }
    }

    #[test]
    fn the_densest_json_takes_no_more_than_so_many_times_its_length() {
        let numbers = |count| many(count, |_| "1".to_owned());
        let lists = |count, length| many(count, |i| format!(r#""{}":[{}]"#, name(i), numbers(length)));
        let fields = |count| many(count, |i| format!(r#""{}":1"#, name(i)));
        let nested = |count| format!(r#""{}":{{{}}}"#, "x".repeat(253), lists(count, 1));
        let candidates = [
            many(5000, |i| format!(r#""{}""#, name(i))),
            many(4097, |i| format!(r#"{{"id":"{}"}}"#, name(i))),
            many(2000, |i| format!(r#"{{"id":"{}",{}}}"#, name(i), fields(5))),
            many(300, |i| format!(r#"{{"id":"{}",{}}}"#, name(i), lists(3, 129))),
            many(50, |i| format!(r#"{{"id":"{}",{}}}"#, name(i), nested(129))),
        ];
        let users = [
            lists(128, MAX_LIST),
            lists(128, MAX_LIST / 2 + 1),
            lists(MAX_FIELDS, 5),
            lists(MAX_FIELDS, 1),
            nested(129),
            nested(MAX_FIELDS),
            fields(129),
            many(MAX_FIELDS, |i| format!(r#""{}":"""#, name(i))),
        ];
        let bodies = candidates.map(|of| format!(r#"{{"model":"m","candidates":[{of}]}}"#)).into_iter();
        let bodies = bodies.chain(users.map(|of| format!(r#"{{"model":"m","candidates":["a"],"user":{{{of}}}}}"#)));
        let mut densest = 0;
        for body in bodies {
            let request = json::decode(body.as_bytes(), &JsonLimits::default()).expect("a request").request;
            let times = request.memory() / body.len();
            assert!(times <= DECODED_TIMES, "{times} times {}…", &body[..80]);
            densest = densest.max(times);
        }
        assert!(densest > DECODED_TIMES / 2, "{densest}: the bound could be lower");
    }
}
