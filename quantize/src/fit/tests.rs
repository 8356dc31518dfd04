use super::*;
use crate::split::Work;

const ROOMY: Limits = Limits { compressed: None, size: Some(1000), memory: 1000, cpu: None };

/// A variant of so many bytes that takes this memory and agrees so often.
fn fit(variant: VariantName, bytes: u64, memory: Result<u64, String>, agreement: Option<f64>, limits: Limits) -> Fit {
    let deployed = Deployed { what: "by hand", bytes, compressed: bytes / 2, resident: 0, loaded: None };
    judge(variant, &deployed, Measured { memory, cpu: 2000 }, agreement, limits)
}

fn fitted(variants: Vec<Fit>) -> Fitted {
    let (model, version) = ("m".to_owned(), "1".to_owned());
    Fitted { model, version, target: Target::Pop, candidates: 100, best: best(&variants), variants }
}

#[test]
fn the_best_is_the_one_that_agrees_most_often_of_those_that_fit() {
    let of = |w4, w8, w8_bytes| {
        let variants =
            vec![fit(VariantName::W4, 500, Ok(500), w4, ROOMY), fit(VariantName::W8, w8_bytes, Ok(500), w8, ROOMY)];
        fitted(variants).best
    };
    assert_eq!(of(Some(0.8), Some(0.9), 1000), Some(VariantName::W8));
    assert_eq!(of(Some(0.9), Some(0.8), 1000), Some(VariantName::W4));
    assert_eq!(of(Some(0.9), Some(0.9), 1000), Some(VariantName::W8), "of equals, the one of more bits");
    assert_eq!(of(None, None, 1000), Some(VariantName::W8));
    assert_eq!(of(Some(0.8), Some(0.9), 1001), Some(VariantName::W4), "a byte too many");
}

#[test]
fn what_fits_nowhere_says_why_for_each_variant() {
    let tight = Limits { compressed: Some(100), cpu: Some(1999), ..ROOMY };
    let none = fitted(vec![
        fit(VariantName::W4, 400, Ok(500), None, tight),
        fit(VariantName::W8, 200, Err("the worker declined: no room".to_owned()), None, tight),
    ]);
    assert_eq!(none.best, None);
    let rows: Vec<bool> = none.variants[0].rows.iter().map(|row| row.ok).collect();
    assert_eq!(rows, [false, true, true, false]);
    let last = text(&none).lines().last().unwrap_or_default().to_owned();
    let cpu = "2.00 ms of CPU time a request (estimate), 2.00 ms allowed";
    let w4 = format!("w4: 0.00 MB of size with gzip, 0.00 MB allowed, {cpu}");
    assert_eq!(last, format!("none fits: {w4}; w8: the worker declined: no room, {cpu}"));
}

#[test]
fn items_that_have_a_table_cost_nothing() {
    let work = Work { request: 5_000_000, item: 100_000, pair: 50_000 };
    assert_eq!(measure::microseconds(work, 100, true), 2000);
    assert_eq!(measure::microseconds(work, 100, false), 4000);
}

#[test]
fn every_platform_bounds_the_memory_and_what_is_deployed() {
    for target in [Target::Cloudflare, Target::CloudflareFree, Target::Fastly, Target::Pop] {
        let Limits { compressed, size, memory, .. } = target.limits();
        assert!(compressed.or(size).is_some() && memory <= 128 << 20, "{target:?}");
    }
}
