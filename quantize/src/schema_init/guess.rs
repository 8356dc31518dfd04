//! From the inputs of a model, and what was observed, to features.

mod names;

use shared_model::graph::{DType, Scope};
use shared_model::limits;

use self::names::{is_id, is_time, scope_of, words};
use super::draft::{Draft, Drafts, Note, Vocabulary, quoted};
use super::model::{Input, Model};
use super::observed::{Field, Holds, Observed};

/// The vocabulary of the catalog's ids.
const ITEMS: &str = "items";
/// The most columns of a float input that are taken for separate numbers when nothing is known of them.
const COLUMNS: usize = 8;
/// The most distinct texts that are written down as a vocabulary.
const WORDS: usize = 500;

pub(super) fn drafts(model: &Model, observed: &Observed) -> Drafts {
    let mut guess = Guess {
        observed,
        item_id: item_id(&model.inputs),
        taken: vec![false; observed.fields.len()],
        vocabularies: Vec::new(),
    };
    let mut features: Vec<Option<Vec<Draft>>> = model.inputs.iter().map(|input| guess.known(input)).collect();
    // What no other input takes is left for those of several numbers.
    for (input, features) in model.inputs.iter().zip(&mut features) {
        features.get_or_insert_with(|| guess.columns(input));
    }
    Drafts { vocabularies: guess.vocabularies, features: features.into_iter().flatten().flatten().collect() }
}

/// The input that names the item: by its name, else by sharing a table with a list.
fn item_id(inputs: &[Input]) -> Option<&Input> {
    let scalars = || inputs.iter().filter(|input| input.dtype == DType::I32 && input.width() == 1);
    let named = |input: &&Input| is_id(&input.name) && scope_of(&input.name) == Some(Scope::Item);
    let lists = || inputs.iter().filter(|input| input.dtype == DType::I32 && input.width() > 1);
    let shares = |input: &&Input| lists().any(|list| list.table().is_some() && list.table() == input.table());
    scalars().find(named).or_else(|| scalars().find(shares))
}

struct Guess<'a> {
    observed: &'a Observed,
    item_id: Option<&'a Input>,
    /// Which of the observed fields feed an input already.
    taken: Vec<bool>,
    vocabularies: Vec<Vocabulary>,
}

/// Where a value comes from.
struct Whence<'a> {
    scope: Scope,
    path: String,
    field: Option<&'a Field>,
    note: Note,
}

impl<'a> Guess<'a> {
    /// The features of an input of which something is known; `None` for one of several numbers that no field fits.
    fn known(&mut self, input: &Input) -> Option<Vec<Draft>> {
        match (input.dtype, input.width()) {
            (DType::F32, 1) => {
                let from = self.from(&input.name);
                Some(vec![numeric(input, None, from)])
            }
            (DType::F32, width) => self.vector(input, width).map(|draft| vec![draft]),
            (_, 1) => Some(vec![self.index(input, &input.name, None)]),
            (_, _) if input.table().is_some() || input.tables.iter().all(Option::is_none) => {
                Some(vec![self.list(input)])
            }
            (_, width) => {
                let column = |c: usize| self.index(input, &format!("{}_{c}", input.name), Some(c));
                Some((0..width).map(column).collect())
            }
        }
    }

    /// One index.
    fn index(&mut self, input: &Input, name: &str, column: Option<usize>) -> Draft {
        let rows = input.tables.get(column.unwrap_or(0)).and_then(Option::as_ref).map(|table| table.rows);
        let of_time = [("hour", 24), ("weekday", 7), ("dow", 7), ("day", 7)];
        let time = of_time.iter().find(|(word, n)| words(name).any(|w| w == *word) && rows.is_none_or(|r| r == *n));
        if let Some((_, n)) = time {
            let transform = quoted(if *n == 24 { "hour" } else { "weekday" });
            return Draft { column, ..draft(input, name, "categorical", self.clock(), Some(transform)) };
        }
        if column.is_none() && self.item_id == Some(input) {
            let note = Note::Fact("the item itself".to_owned());
            let from = Whence { scope: Scope::Item, path: "id".to_owned(), field: None, note };
            let transform = self.items(rows);
            return draft(input, name, "categorical", from, Some(transform));
        }
        let from = self.from(name);
        let (kind, transform, note) = match (from.field, rows) {
            (Some(field), Some(rows)) if matches!(field.holds, Holds::Integer | Holds::Number) => {
                numbers(name, field, rows)
            }
            (Some(Field { holds: Holds::Text, texts, path, .. }), _) => {
                let (transform, note) = self.texts(path, texts.as_ref().map(|t| t.iter().cloned().collect()), rows);
                ("categorical", transform, note)
            }
            (_, rows) => {
                let (transform, note) = unseen(name, rows);
                ("categorical", transform, note)
            }
        };
        let mut draft = draft(input, name, kind, from, Some(transform));
        draft.notes.push(note);
        Draft { column, ..draft }
    }

    /// Several indices of one table.
    fn list(&mut self, input: &Input) -> Draft {
        let rows = input.table().map(|table| table.rows);
        let of_items =
            self.item_id.and_then(Input::table).is_some_and(|t| Some(t) == input.table() || Some(t.rows) == rows);
        let mut from = self.from(&input.name);
        if from.field.is_none() && of_items && scope_of(&input.name).is_none() {
            from.scope = Scope::Request;
            from.path = format!("user.{}", input.name);
            from.note =
                Note::Guess("a list of items is likely the user's; the field is guessed from the name".to_owned());
        }
        let (transform, note) = match from.field {
            _ if of_items => {
                let note = "it shares the item's table, or one of as many rows: a list of items";
                (self.items(rows), Note::Fact(note.to_owned()))
            }
            Some(Field { holds: Holds::Texts, texts, path, .. }) => {
                self.texts(path, texts.as_ref().map(|t| t.iter().cloned().collect()), rows)
            }
            _ => unseen(&input.name, rows),
        };
        let mut draft = draft(input, &input.name, "list", from, Some(transform));
        draft.length = Some(("max_length", input.width()));
        draft.notes.push(note);
        draft.notes.push(Note::Guess("the last ones stay, and 0 fills up on the right: `keep`, `padding`".to_owned()));
        draft
    }

    /// Several numbers that are one field.
    fn vector(&mut self, input: &Input, width: usize) -> Option<Draft> {
        let at = self.matching(&input.name)?;
        let field = &self.observed.fields[at];
        match (&field.holds, &field.texts) {
            (Holds::Numbers(n), _) if *n == width => {
                let mut draft = draft(input, &input.name, "dense", self.take(at), None);
                draft.length = Some(("length", width));
                Some(draft)
            }
            // Of fewer, the rest may be rare; of many fewer, it is something else.
            (Holds::Texts, Some(texts)) if (width.div_ceil(2)..=width).contains(&texts.len()) => {
                let mut notes = vec![Note::Guess("the order must be that of the columns in training".to_owned())];
                if texts.len() < width {
                    notes.push(Note::Guess(format!("{} of the {width} values were not seen", width - texts.len())));
                }
                let unseen = (1..=width - texts.len()).map(|i| format!("(unseen {i})"));
                let values = texts.iter().cloned().chain(unseen).collect();
                let transform = self.vocabulary(&field.path, Some(values), None, notes);
                Some(draft(input, &input.name, "multi_hot", self.take(at), Some(transform)))
            }
            _ => None,
        }
    }

    /// Several numbers of which nothing is known but what is left over.
    fn columns(&mut self, input: &Input) -> Vec<Draft> {
        let width = input.width();
        let scope = scope_of(&input.name);
        let left: Vec<usize> = (0..self.taken.len())
            .filter(|&at| {
                let field = &self.observed.fields[at];
                let number = matches!(field.holds, Holds::Integer | Holds::Number) && !is_time(&field.path);
                !self.taken[at] && number && scope.is_none_or(|scope| scope == field.scope)
            })
            .collect();
        let one_scope = left.windows(2).all(|w| self.observed.fields[w[0]].scope == self.observed.fields[w[1]].scope);
        if left.len() == width && one_scope {
            let column = |(column, at): (usize, &usize)| {
                let mut from = self.take(*at);
                let path = &from.path;
                from.note =
                    Note::Guess(format!("`{path}` is number {column} of the {width} that no other input takes"));
                numeric(input, Some(column), from)
            };
            return left.iter().enumerate().map(column).collect();
        }
        if width <= COLUMNS {
            let column = |column: usize| numeric(input, Some(column), self.from(&format!("{}_{column}", input.name)));
            return (0..width).map(column).collect();
        }
        let mut draft = draft(input, &input.name, "dense", self.from(&input.name), None);
        draft.length = Some(("length", width));
        let what = format!("{width} numbers: a vector, or a multi_hot of {width} values, or {width} numeric features");
        draft.notes.push(Note::Guess(what));
        vec![draft]
    }

    /// Where the value of this name comes from.
    fn from(&mut self, name: &str) -> Whence<'a> {
        if let Some(at) = self.matching(name) {
            return self.take(at);
        }
        let (scope, note) = match scope_of(name) {
            Some(scope) => (scope, "scope and field are guessed from the name"),
            None => (Scope::Item, "neither its name nor a file says whether it is the request's or the item's"),
        };
        let path = match scope {
            Scope::Item => names::stem(name, Scope::Item),
            _ => format!("user.{}", names::stem(name, Scope::Request)),
        };
        Whence { scope, path, field: None, note: Note::Guess(note.to_owned()) }
    }

    fn take(&mut self, at: usize) -> Whence<'a> {
        self.taken[at] = true;
        let field = &self.observed.fields[at];
        let whose = if field.scope == Scope::Item { "items" } else { "requests" };
        let note = Note::Fact(format!("the {whose} have a field of that name"));
        Whence { scope: field.scope, path: field.path.clone(), field: Some(field), note }
    }

    /// The observed field of this name.
    fn matching(&self, name: &str) -> Option<usize> {
        let fields = self.observed.fields.iter().enumerate().filter(|(at, _)| !self.taken[*at]);
        let scope = scope_of(name);
        let likeness = |field: &Field| {
            let last = field.path.rsplit('.').next().unwrap_or_default();
            if field.path == name || field.path.replace('.', "_") == name {
                2
            } else if scope.is_none_or(|scope| scope == field.scope)
                && (last == name || last == names::stem(name, field.scope))
            {
                1
            } else {
                0
            }
        };
        let best = fields.map(|(at, field)| (likeness(field), at)).filter(|(likeness, _)| *likeness > 0);
        best.max_by_key(|(likeness, at)| (*likeness, usize::MAX - at)).map(|(_, at)| at)
    }

    /// The field of the request's time.
    fn clock(&mut self) -> Whence<'a> {
        let clock = self.observed.fields.iter().position(|f| f.scope == Scope::Request && is_time(&f.path));
        match clock {
            Some(at) => {
                let note = Note::Fact("a moment of the requests, in Unix seconds".to_owned());
                Whence { note, ..self.take(at) }
            }
            None => {
                let note = Note::Guess("the requests' Unix seconds are looked for here".to_owned());
                Whence { scope: Scope::Request, path: "context.timestamp".to_owned(), field: None, note }
            }
        }
    }

    /// The transform into the catalog's ids, for a table of so many rows.
    fn items(&mut self, rows: Option<usize>) -> String {
        let (first, note) = match (rows, self.observed.items) {
            (Some(rows), Some(items)) if rows == items + 1 => {
                (None, Note::Fact(format!("{items} ids from 1 on, and 0 for what is unknown: the {rows} rows")))
            }
            (Some(rows), Some(items)) if rows == items => {
                (Some(0), Note::Guess(format!("{items} ids in {rows} rows leave none for what is unknown, which is 0")))
            }
            (Some(rows), Some(items)) => {
                (None, Note::Guess(format!("{rows} rows, but {items} items: the catalog must be that of the training")))
            }
            (Some(rows), None) => {
                let ids = rows.saturating_sub(1);
                (None, Note::Guess(format!("the catalog's ids in catalog order, from 1 on: at most {ids} of them")))
            }
            (None, _) => (None, Note::Guess("the catalog's ids in catalog order, from 1 on".to_owned())),
        };
        self.vocabulary(ITEMS, None, first, vec![note])
    }

    /// The transform of texts, for a table of so many rows.
    fn texts(&mut self, path: &str, seen: Option<Vec<String>>, rows: Option<usize>) -> (String, Note) {
        match (seen, rows) {
            (Some(seen), Some(rows)) if seen.len() <= WORDS && (seen.len() == rows || seen.len() + 1 == rows) => {
                let first = (seen.len() < rows).then_some(1);
                let note = Note::Guess("the order must be that of the training".to_owned());
                let fact = Note::Fact(format!("{rows} rows, and {} values were seen", seen.len()));
                (self.vocabulary(path, Some(seen), first, vec![note]), fact)
            }
            (_, Some(rows)) => (hash(rows), Note::Guess(format!("texts in a table of {rows} rows: a hash, likely"))),
            (_, None) => (hash(1024), Note::Guess("how many indices there are is not known".to_owned())),
        }
    }

    /// The transform into a vocabulary, which is added if it is new.
    fn vocabulary(
        &mut self,
        path: &str,
        values: Option<Vec<String>>,
        first: Option<usize>,
        notes: Vec<Note>,
    ) -> String {
        let stem = path.rsplit('.').next().unwrap_or(path);
        let mut name = stem.to_owned();
        let mut form = 1;
        while let Some(known) = self.vocabularies.iter().find(|v| v.name == name) {
            if known.values == values {
                return format!("{{ vocabulary = {} }}", quoted(&name));
            }
            form += 1;
            name = format!("{stem}_{form}");
        }
        let transform = format!("{{ vocabulary = {} }}", quoted(&name));
        self.vocabularies.push(Vocabulary { name, values, first, notes });
        transform
    }
}

fn draft(input: &Input, name: &str, kind: &'static str, from: Whence<'_>, transform: Option<String>) -> Draft {
    let Whence { scope, path, note, .. } = from;
    Draft {
        name: name.to_owned(),
        kind,
        scope,
        field: path,
        input: input.name.clone(),
        column: None,
        transform,
        length: None,
        notes: vec![note],
    }
}

fn numeric(input: &Input, column: Option<usize>, from: Whence<'_>) -> Draft {
    let name = match column {
        // The field says more than a number.
        Some(_) => from.path.replace('.', "_"),
        None => input.name.clone(),
    };
    let mut draft = draft(input, &name, "numeric", from, Some(quoted("identity")));
    draft.notes.push(Note::Guess("as it is: or is it ln1p, standardize, clip?".to_owned()));
    Draft { column, ..draft }
}

/// Kind and transform of a field that holds numbers, for an input of this name and a table of so many rows.
fn numbers(name: &str, field: &Field, rows: usize) -> (&'static str, String, Note) {
    let mut sorted = field.numbers.clone();
    sorted.sort_by(f64::total_cmp);
    let fits = |v: &f64| *v >= 0.0 && *v < rows as f64;
    if field.holds == Holds::Integer && sorted.iter().all(fits) {
        let note = format!("every value seen is an index into the table's {rows} rows");
        return ("categorical", identity(rows), Note::Fact(note));
    }
    // Which of two ids is the greater says nothing.
    if field.holds == Holds::Integer && (is_id(name) || is_id(&field.path)) {
        let note = format!("numbers that are ids, of which some are beyond the table's {rows} rows: a hash, likely");
        return ("categorical", hash(rows), Note::Guess(note));
    }
    // Row 0 is for what is missing, and there is one bucket more than boundaries.
    let wanted = rows.saturating_sub(2).clamp(1, limits::MAX_BOUNDARIES.min(sorted.len().max(1)));
    let mut boundaries: Vec<f64> =
        (1..=wanted).filter_map(|i| sorted.get(i * sorted.len() / (wanted + 1)).copied()).collect();
    boundaries.dedup();
    let texts: Vec<String> = boundaries.iter().map(|b| format!("{b:?}")).collect();
    let note = format!("these are quantiles of what was seen, for the table's {rows} rows: put those of the training");
    ("bucketized", format!("{{ boundaries = [{}] }}", texts.join(", ")), Note::Guess(note))
}

/// The transform of an index of which nothing was seen.
fn unseen(name: &str, rows: Option<usize>) -> (String, Note) {
    match rows {
        Some(rows) if is_id(name) => {
            (hash(rows), Note::Guess(format!("an id in a table of {rows} rows: a hash, likely")))
        }
        Some(rows) => {
            let note = format!("an index as it is, or what makes one of the table's {rows} rows: vocabulary, hash");
            (identity(rows), Note::Guess(note))
        }
        None => {
            let note = "an index as it is, or what makes one: vocabulary, hash; no table says how many there are";
            (quoted("identity"), Note::Guess(note.to_owned()))
        }
    }
}

fn hash(rows: usize) -> String {
    format!("{{ hash = {rows} }}")
}

fn identity(rows: usize) -> String {
    format!("{{ identity = {rows} }}")
}

#[cfg(test)]
mod tests;
