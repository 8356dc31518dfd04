//! The arena: one run of f32 and one of i32 (booleans are 0 and 1 there), with a place for every value.
//!
//! A step reads some places and writes one that overlaps none of them; [`Writing`] makes that split without `unsafe`.

use std::ops::Range;

use crate::encode::Data;

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its first element.
    pub(super) offset: usize,
    /// Elements of a row.
    pub(super) len: usize,
    /// Whether there is a row a candidate, else one.
    pub(super) per_candidate: bool,
}

impl Place {
    fn range(self, rows: usize) -> Range<usize> {
        let rows = if self.per_candidate { rows } else { 1 };
        self.offset..self.offset + rows * self.len
    }
}

/// The rows of an operand; a value that is not per candidate has the same row for each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a, T> {
    pub(super) data: &'a [T],
    pub(super) len: usize,
    pub(super) per_candidate: bool,
}

impl<'a, T> Rows<'a, T> {
    pub(super) fn row(&self, r: usize) -> &'a [T] {
        if self.per_candidate { &self.data[r * self.len..][..self.len] } else { self.data }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Memory {
    floats: Vec<f32>,
    ints: Vec<i32>,
}

impl Memory {
    pub(super) fn new(floats: usize, ints: usize) -> Self {
        Self { floats: vec![0.0; floats], ints: vec![0; ints] }
    }

    pub(super) fn floats(&self, place: Place, rows: usize) -> &[f32] {
        &self.floats[place.range(rows)]
    }

    pub(super) fn floats_mut(&mut self, place: Place, rows: usize) -> &mut [f32] {
        &mut self.floats[place.range(rows)]
    }

    pub(super) fn ints(&self, place: Place, rows: usize) -> &[i32] {
        &self.ints[place.range(rows)]
    }

    pub(super) fn ints_mut(&mut self, place: Place, rows: usize) -> &mut [i32] {
        &mut self.ints[place.range(rows)]
    }

    /// Copies rows of an input, whose length the plan has checked, into its place.
    pub(super) fn load(&mut self, place: Place, data: &Data, first: usize, rows: usize) {
        let source = first * place.len..(first + rows) * place.len;
        match data {
            Data::F32(v) => self.floats_mut(place, rows).copy_from_slice(&v[source]),
            Data::I32(v) => self.ints_mut(place, rows).copy_from_slice(&v[source]),
        }
    }

    /// The f32 place to write, and all else to read.
    pub(super) fn write_floats(&mut self, place: Place, rows: usize) -> (&mut [f32], Reading<'_>) {
        let (out, floats) = Split::around(&mut self.floats, place.range(rows));
        (out, Reading { floats, ints: Split::all(&self.ints), rows })
    }

    /// The i32 place to write, and all else to read.
    pub(super) fn write_ints(&mut self, place: Place, rows: usize) -> (&mut [i32], Reading<'_>) {
        let (out, ints) = Split::around(&mut self.ints, place.range(rows));
        (out, Reading { floats: Split::all(&self.floats), ints, rows })
    }
}

/// What a step may read while it writes.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    floats: Split<'a, f32>,
    ints: Split<'a, i32>,
    rows: usize,
}

impl<'a> Reading<'a> {
    pub(super) fn floats(&self, place: Place) -> Rows<'a, f32> {
        let data = self.floats.slice(place.range(self.rows));
        Rows { data, len: place.len, per_candidate: place.per_candidate }
    }

    pub(super) fn ints(&self, place: Place) -> Rows<'a, i32> {
        let data = self.ints.slice(place.range(self.rows));
        Rows { data, len: place.len, per_candidate: place.per_candidate }
    }
}

/// A slice without the range that is being written.
#[derive(Debug)]
struct Split<'a, T> {
    before: &'a [T],
    after: &'a [T],
    after_start: usize,
}

impl<'a, T> Split<'a, T> {
    fn around(all: &'a mut [T], written: Range<usize>) -> (&'a mut [T], Self) {
        let (before, rest) = all.split_at_mut(written.start);
        let (out, after) = rest.split_at_mut(written.len());
        (out, Self { before, after, after_start: written.end })
    }

    fn all(all: &'a [T]) -> Self {
        Self { before: all, after: &[], after_start: all.len() }
    }

    fn slice(&self, range: Range<usize>) -> &'a [T] {
        if range.end <= self.before.len() {
            &self.before[range]
        } else {
            &self.after[range.start - self.after_start..range.end - self.after_start]
        }
    }
}
