//! `quantize simulate`: how often a certification errs. A population of requests stands in for the world; calibrations
//! on users drawn from it are held against the exact error on all of it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rayon::prelude::*;
use serde::Serialize;
use shared_model::gate::Class;
use shared_model::wire::Tier;

use crate::build::probability;
use crate::eval::Opened;
use crate::failure::Failure;
use crate::gate::{self, Level, Tally};
use crate::progress::Progress;
use crate::score::{Encoding, Scored, Scorer, Set};

/// What is simulated.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The bundle's folder.
    pub bundle: PathBuf,
    /// Gate requests: part of the population, and as many users as they have are drawn.
    #[arg(long, required = true)]
    pub gate: Vec<PathBuf>,
    /// The rest of the population.
    #[arg(long)]
    pub eval: Vec<PathBuf>,
    /// The size of the answer.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub k: u32,
    /// What is claimed.
    #[arg(long, default_value_t = 0.01, value_parser = probability)]
    pub alpha: f64,
    /// How often a certification may err.
    #[arg(long, default_value_t = 0.05, value_parser = probability)]
    pub delta: f64,
    /// Calibrations.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    pub draws: u64,
    /// Of the generator of random numbers.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// How often certifications erred.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Simulated {
    /// Requests of the population.
    pub requests: u64,
    /// Its users.
    pub users: u64,
    /// Users of each draw.
    pub drawn: u64,
    /// Draws.
    pub draws: u64,
    /// What is claimed.
    pub alpha: f64,
    /// How often a certification may err.
    pub delta: f64,
    /// The share of draws that certified a policy.
    pub certified: f64,
    /// The share of draws after which some class errs more often than claimed.
    pub erred: f64,
    /// By class.
    pub classes: Vec<SimulatedClass>,
}

/// A class over all draws.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SimulatedClass {
    /// Where requests enter.
    pub entry: Tier,
    /// The class.
    pub class: Class,
    /// The mean share of the population that it answers.
    pub share: f64,
    /// Its error over all draws.
    pub wrong: Option<f64>,
    /// The share of draws after which it errs more often than claimed.
    pub erred: f64,
}

/// Simulates.
///
/// # Errors
/// A file cannot be used; names it, and the line.
pub fn run(options: &Options, progress: &Progress) -> Result<Simulated, Failure> {
    let opened = Opened::read(&options.bundle)?;
    let scorers = opened.scorers(&options.bundle)?;
    let scorers: Vec<&Scorer> = scorers.iter().collect();
    let encoding = Encoding { schema: &opened.schema, catalog: &opened.catalog };
    let mut set = Set::default();
    for path in &options.gate {
        set.extend(encoding.score(path, &scorers, progress)?);
    }
    let drawn = set.requests.iter().map(|r| r.user.as_str()).collect::<BTreeSet<_>>().len();
    for path in &options.eval {
        set.extend(encoding.score(path, &scorers, progress)?);
    }
    let level = Level { alpha: options.alpha, delta: options.delta };
    Ok(simulate(&set.requests, options.k, drawn, options.draws, options.seed, level))
}

/// Draws `drawn` users with replacement, `draws` times, and certifies a policy on each draw.
#[must_use]
pub fn simulate(requests: &[Scored], k: u32, drawn: usize, draws: u64, seed: u64, level: Level) -> Simulated {
    let population = gate::Population::new(requests, k as usize);
    let tallies: Vec<Option<Tally>> = (0..draws)
        .into_par_iter()
        .map(|draw| {
            let mut random = fastrand::Rng::with_seed(seed.wrapping_add(draw));
            population.certified(drawn, &mut random, level)
        })
        .collect();
    let share = |n: usize| n as f64 / draws as f64;
    let errs =
        |tally: &Tally, i: usize| tally.count(i).is_some_and(|c| c.errors as f64 > level.alpha * c.answered as f64);
    let places = 0..Tally::CLASSES.len();
    let class = |(i, (entry, class)): (usize, (Tier, Class))| {
        let counts = || tallies.iter().flatten().filter_map(move |t| t.count(i));
        let answered: u64 = counts().map(|c| c.answered).sum();
        let errors: u64 = counts().map(|c| c.errors).sum();
        SimulatedClass {
            entry,
            class,
            share: answered as f64 / draws as f64 / population.requests().max(1) as f64,
            wrong: (answered > 0).then(|| errors as f64 / answered as f64),
            erred: share(tallies.iter().flatten().filter(|t| errs(t, i)).count()),
        }
    };
    Simulated {
        requests: population.requests() as u64,
        users: population.users() as u64,
        drawn: drawn as u64,
        draws,
        alpha: level.alpha,
        delta: level.delta,
        certified: share(tallies.iter().flatten().count()),
        erred: share(tallies.iter().flatten().filter(|t| places.clone().any(|i| errs(t, i))).count()),
        classes: Tally::CLASSES.into_iter().enumerate().map(class).collect(),
    }
}
