//! How many scorings a tier could save if it foresaw, from the request alone, that it will not be sure (ADR 13).
//!
//! The margin's logarithm is fitted by least squares to what a request says of its user and its moment, on a third of the
//! users. Of the others, those with the smallest margins foreseen are skipped, as long as at most so many answers are lost.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Margins have no logarithm at 0.
const LEAST_MARGIN: f64 = 1e-4;
/// Keeps columns that say the same apart.
const RIDGE: f64 = 1e-6;

/// A request, and the margin that a tier's scores have.
#[derive(Clone, Debug)]
pub struct Known {
    /// Whose it is.
    pub user: String,
    /// By field.
    pub features: BTreeMap<String, f64>,
    /// At the boundary.
    pub margin: f64,
}

/// What a tier's own scores say, had it foreseen them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Saved {
    /// The share of the margins' variance that is foreseen.
    pub foreseen: f64,
    /// The share of scorings that need not be made.
    pub scorings: f64,
}

/// The numbers of a request's user and context, and the lengths of their lists.
#[must_use]
pub fn features(request: &Value) -> BTreeMap<String, f64> {
    let mut features = BTreeMap::new();
    for scope in ["user", "context"] {
        for (field, value) in request[scope].as_object().into_iter().flatten() {
            let name = format!("{scope}.{field}");
            if let Some(list) = value.as_array() {
                features.insert(name, (list.len() as f64).ln_1p());
            } else if let Some(number) = value.as_f64() {
                features.insert(format!("ln {name}"), number.abs().ln_1p());
                features.insert(name, number);
            }
        }
    }
    features
}

/// What is saved if the tier answers the `share` of requests with the largest margins and may lose `lost` of those.
#[must_use]
pub fn saved(requests: &[Known], share: f64, lost: f64) -> Saved {
    let users: BTreeSet<&str> = requests.iter().map(|r| r.user.as_str()).collect();
    let third: BTreeSet<&str> = users.iter().copied().step_by(3).collect();
    let names: BTreeSet<&str> = requests.iter().flat_map(|r| r.features.keys()).map(String::as_str).collect();
    let columns: Vec<Vec<f64>> = names.iter().map(|name| column(requests, name)).collect();
    let row = |i: usize| -> Vec<f64> {
        let once = columns.iter().map(|column| column[i]);
        std::iter::once(1.0).chain(once.clone()).chain(once.map(|x| x * x)).collect()
    };
    let target = |i: usize| (requests[i].margin + LEAST_MARGIN).ln();
    let (fit, rest): (Vec<usize>, Vec<usize>) =
        (0..requests.len()).partition(|i| third.contains(requests[*i].user.as_str()));
    let weights = least_squares(&fit.iter().map(|i| (row(*i), target(*i))).collect::<Vec<_>>());
    let foresee = |i: usize| row(i).iter().zip(&weights).map(|(x, w)| x * w).sum::<f64>();

    let mean = rest.iter().map(|i| target(*i)).sum::<f64>() / rest.len() as f64;
    let squares = |of: &dyn Fn(usize) -> f64| rest.iter().map(|i| (target(*i) - of(*i)).powi(2)).sum::<f64>();
    let foreseen = 1.0 - squares(&foresee) / squares(&|_| mean);

    let mut by_margin = rest.clone();
    by_margin.sort_by(|a, b| requests[*b].margin.total_cmp(&requests[*a].margin));
    let sure: BTreeSet<usize> = by_margin.into_iter().take((share * rest.len() as f64) as usize).collect();
    let mut order: Vec<(f64, usize)> = rest.iter().map(|i| (foresee(*i), *i)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut left = (lost * sure.len() as f64) as usize;
    let skipped = order.iter().take_while(|(_, i)| {
        let pays = !sure.contains(i);
        let fits = pays || left > 0;
        left -= usize::from(fits && !pays);
        fits
    });
    Saved { foreseen, scorings: skipped.count() as f64 / rest.len().max(1) as f64 }
}

/// A feature of all requests, with mean 0 and variance 1; absent, it is average.
fn column(requests: &[Known], name: &str) -> Vec<f64> {
    let given: Vec<f64> = requests.iter().filter_map(|r| r.features.get(name).copied()).collect();
    let mean = given.iter().sum::<f64>() / given.len() as f64;
    let deviation = (given.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / given.len() as f64).sqrt();
    let normal = |x: &f64| if deviation > 0.0 { (x - mean) / deviation } else { 0.0 };
    requests.iter().map(|r| r.features.get(name).map_or(0.0, normal)).collect()
}

/// The weights that minimize the squared error, by the normal equations and Cholesky's decomposition.
fn least_squares(rows: &[(Vec<f64>, f64)]) -> Vec<f64> {
    let n = rows.first().map_or(0, |(row, _)| row.len());
    let mut a = vec![vec![0.0; n]; n];
    let mut b = vec![0.0; n];
    for (row, target) in rows {
        for i in 0..n {
            b[i] += row[i] * target;
            (0..=i).for_each(|j| a[i][j] += row[i] * row[j]);
        }
    }
    for i in 0..n {
        for j in 0..=i {
            let inner: f64 = (0..j).map(|k| a[i][k] * a[j][k]).sum();
            let ridge = if i == j { RIDGE * rows.len() as f64 } else { 0.0 };
            let rest = a[i][j] + ridge - inner;
            a[i][j] = if i == j { rest.sqrt() } else { rest / a[j][j] };
        }
        let inner: f64 = (0..i).map(|k| a[i][k] * b[k]).sum();
        b[i] = (b[i] - inner) / a[i][i];
    }
    for i in (0..n).rev() {
        let inner: f64 = (i + 1..n).map(|k| a[k][i] * b[k]).sum();
        b[i] = (b[i] - inner) / a[i][i];
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(told: f64) -> Vec<Known> {
        let mut random = fastrand::Rng::with_seed(7);
        let one = |i: usize| {
            let (x, noise) = (random.f64() - 0.5, random.f64() - 0.5);
            let features = [("x".to_owned(), x), ("y".to_owned(), random.f64())].into();
            Known { user: format!("u{}", i / 4), features, margin: (4.0 * (told * x + (1.0 - told) * noise)).exp() }
        };
        (0..4000).map(one).collect()
    }

    #[test]
    fn what_a_feature_tells_is_foreseen_and_what_none_tells_is_not() {
        let told = saved(&world(1.0), 0.3, 0.01);
        assert!(told.foreseen > 0.99 && (0.68..0.72).contains(&told.scorings), "{told:?}");
        let noise = saved(&world(0.0), 0.3, 0.01);
        assert!(noise.foreseen.abs() < 0.02 && noise.scorings < 0.05, "{noise:?}");
    }

    #[test]
    fn numbers_and_lengths_of_lists_are_features() {
        let request = serde_json::json!({"user": {"id": "u", "history": ["a", "b"], "age": 3}, "context": {"hour": 0}});
        let of = features(&request);
        assert_eq!(
            of.keys().collect::<Vec<_>>(),
            ["context.hour", "ln context.hour", "ln user.age", "user.age", "user.history"]
        );
        assert_eq!((of["user.age"], of["user.history"]), (3.0, 2f64.ln_1p()));
    }
}
