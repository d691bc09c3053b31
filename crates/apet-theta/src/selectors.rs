//! APET's selectors: which parameters of a pool are tuned (paper, section 2).

use apet_plm::{InsertionPoint, InsertionPointId, Site, SiteId};
use apet_record::{Adapter, Apet, Lora, Pool as PoolSpec, Select, SpecError, Stream, Unit};

use crate::{
    budget,
    deltas::{
        adapter::Bottleneck, dense::Dense, lora::LowRank, lora_scalar::LowRankScalars,
        sparse::Sparse,
    },
    layout_builder::{BuildContext, LayoutBuilder},
    pool::{Filter, Placed, Pool},
    weight::{AttachPoint, Target},
};

/// Adds what a selector draws; `number` tells the methods of one theta apart.
pub(crate) fn add(
    apet: &Apet,
    number: usize,
    context: &BuildContext<'_>,
    layout: &mut LayoutBuilder,
) -> Result<(), SpecError> {
    let (pool, select) = (&apet.pool, &apet.select);
    let count = budget::count(apet.count, context.architecture);
    let mut stream = Stream::new(&purpose(number), context.placement);
    let sites = &context.architecture.sites;
    layout.candidates += match select {
        Select::Unit { units } => draw_units(units, count, pool, context, &mut stream, layout)?,
        Select::LoraScalar {
            rank,
            alpha,
            targets,
        } => {
            let filter = Filter::new(sites, pool)?;
            let mut layers = context.linear(targets, "method.select.targets")?;
            layers.retain(|(_, site)| filter.has(&site.name, site.layer));
            let scale = (*rank, alpha / *rank as f64);
            draw_scalars(&layers, scale, count, context, &mut stream, layout)?
        }
        _ => {
            let pool = Pool::new(sites, context.site, pool)?;
            let (placed, size) = match (select, context.chosen) {
                (Select::Rows {}, _) => lines(&pool, Axis::Rows, count, &mut stream)?,
                (Select::Columns {}, _) => lines(&pool, Axis::Columns, count, &mut stream)?,
                (Select::Diagonal {}, _) => diagonal(&pool, count, &mut stream)?,
                (Select::Element, _) | (_, None) => {
                    (elements(&pool, count, &mut stream)?, pool.size())
                }
                (_, Some(chosen)) => (chosen.clone(), pool.size()),
            };
            for (id, positions) in placed {
                let delta = Sparse::new(&sites[id], positions, context.device);
                layout.push(AttachPoint::Site(id), Target::Site(&sites[id]), delta);
            }
            size
        }
    };
    Ok(())
}

fn purpose(number: usize) -> String {
    match number {
        0 => "placement".into(),
        n => format!("placement of part {n}"),
    }
}

pub(crate) fn too_many(count: u64, size: u64, what: &str) -> SpecError {
    SpecError {
        field: "method.count".into(),
        problem: format!(
            "found {count}, {what} {size} parameters; lower the count or widen the pool"
        ),
    }
}

/// Draws `count` places, uniformly, without replacement.
///
/// # Errors
/// When the pool is smaller than `count`.
fn elements(pool: &Pool, count: u64, stream: &mut Stream) -> Result<Placed, SpecError> {
    let size = pool.size();
    if count > size {
        return Err(too_many(count, size, "the pool has"));
    }
    Ok(split(pool.sizes(), &stream.sample(size, count)))
}

/// Sorts numbers of a whole pool, ascending, into its parts.
pub(crate) fn split<K>(parts: impl Iterator<Item = (K, u64)>, drawn: &[u64]) -> Vec<(K, Vec<u64>)> {
    let mut placed = Vec::new();
    let (mut start, mut rest) = (0, drawn);
    for (part, size) in parts {
        let here = rest.partition_point(|&p| p < start + size);
        if here > 0 {
            placed.push((part, rest[..here].iter().map(|p| p - start).collect()));
        }
        rest = &rest[here..];
        start += size;
    }
    placed
}

#[derive(Clone, Copy, PartialEq)]
enum Axis {
    Rows,
    Columns,
}

/// Draws whole rows or columns until `count` is reached, the last one in part. A vector is
/// one row.
fn lines(
    pool: &Pool,
    axis: Axis,
    count: u64,
    stream: &mut Stream,
) -> Result<(Placed, u64), SpecError> {
    let size = pool.size();
    if count > size {
        return Err(too_many(count, size, "the pool has"));
    }
    let matrix = |shape: &[usize]| match shape {
        [rows, columns] => (*rows as u64, *columns as u64),
        other => (1, other.iter().product::<usize>() as u64),
    };
    let of = |shape: &[usize]| match axis {
        Axis::Rows => matrix(shape).0,
        Axis::Columns => matrix(shape).1,
    };
    let all: Vec<(usize, u64)> = pool
        .sites()
        .iter()
        .enumerate()
        .flat_map(|(at, (_, shape))| (0..of(shape)).map(move |line| (at, line)))
        .collect();
    let mut order: Vec<u32> = (0..all.len() as u32).collect();
    stream.shuffle(&mut order);
    let mut places: Vec<Vec<u64>> = vec![Vec::new(); pool.sites().len()];
    let mut left = count;
    for line in order {
        if left == 0 {
            break;
        }
        let (at, line) = all[line as usize];
        let (rows, columns) = matrix(&pool.sites()[at].1);
        let scalars = |length: u64| 0..length.min(left);
        match axis {
            Axis::Rows => places[at].extend(scalars(columns).map(|c| line * columns + c)),
            Axis::Columns => places[at].extend(scalars(rows).map(|r| r * columns + line)),
        }
        left -= left.min(if axis == Axis::Rows { columns } else { rows });
    }
    let placed = pool.sites().iter().zip(places);
    let placed = placed
        .filter(|(_, places)| !places.is_empty())
        .map(|((id, _), mut places)| {
            places.sort_unstable();
            (*id, places)
        });
    Ok((placed.collect(), size))
}

/// Draws from the diagonals of the pool's matrices.
fn diagonal(pool: &Pool, count: u64, stream: &mut Stream) -> Result<(Placed, u64), SpecError> {
    let diagonals = || {
        pool.sites()
            .iter()
            .filter_map(|(id, shape)| match shape[..] {
                [rows, columns] => Some(((*id, columns as u64), rows.min(columns) as u64)),
                _ => None,
            })
    };
    let size = diagonals().map(|(_, length)| length).sum();
    if count > size {
        return Err(too_many(count, size, "the diagonals of the pool have"));
    }
    let drawn = split(diagonals(), &stream.sample(size, count));
    let places = drawn.into_iter().map(|((id, columns), at)| {
        let place = |i: u64| i * columns + i;
        (id, at.into_iter().map(place).collect())
    });
    Ok((places.collect(), size))
}

/// Draws scalars inside the factors of low-rank deltas.
fn draw_scalars(
    layers: &[(SiteId, &Site)],
    (rank, scale): (usize, f64),
    count: u64,
    context: &BuildContext<'_>,
    stream: &mut Stream,
    layout: &mut LayoutBuilder,
) -> Result<u64, SpecError> {
    let of_a = |site: &Site| (rank * site.shape[1]) as u64;
    let of_b = |site: &Site| (rank * site.shape[0]) as u64;
    let parts = || {
        layers
            .iter()
            .map(|&(id, site)| (id, of_a(site) + of_b(site)))
    };
    let size = parts().map(|(_, size)| size).sum();
    if count > size {
        return Err(too_many(count, size, "the factors have"));
    }
    for (id, drawn) in split(parts(), &stream.sample(size, count)) {
        let site = &context.architecture.sites[id];
        let in_a = of_a(site);
        let at = drawn.partition_point(|&p| p < in_a);
        let (a, b) = drawn.split_at(at);
        let b = b.iter().map(|p| p - in_a).collect();
        let target = Target::Site(site);
        let delta = LowRankScalars::new((rank, scale), (a.to_vec(), b), target, context.device);
        layout.push(AttachPoint::Site(id), target, delta);
    }
    Ok(size)
}

/// A unit that may be drawn.
#[derive(Clone, Copy)]
enum Candidate<'a> {
    Lora(SiteId, &'a Site, usize),
    Adapter(InsertionPointId, &'a InsertionPoint, usize),
    Tensor(SiteId, &'a Site),
}

impl Candidate<'_> {
    fn size(&self) -> u64 {
        let size = match self {
            Self::Lora(_, site, rank) => rank * (site.shape[0] + site.shape[1]),
            Self::Adapter(_, place, bottleneck) => (2 * bottleneck + 1) * place.width + bottleneck,
            Self::Tensor(_, site) => site.len(),
        };
        size as u64
    }
}

/// Draws whole units: each in a random order that still fits. Where there are modules and
/// tensors, the modules get half, and the tensors what is left.
fn draw_units(
    units: &[Unit],
    count: u64,
    spec: &PoolSpec,
    context: &BuildContext<'_>,
    stream: &mut Stream,
    layout: &mut LayoutBuilder,
) -> Result<u64, SpecError> {
    let filter = Filter::new(&context.architecture.sites, spec)?;
    let (mut modules, mut tensors) = (Vec::new(), Vec::new());
    let (lora, adapter) = (Lora::default(), Adapter::default());
    if units.contains(&Unit::Lora) {
        let layers = context.linear(&lora.targets, "method.select.units")?;
        let layers = layers
            .into_iter()
            .filter(|(_, s)| filter.has(&s.name, s.layer));
        modules.extend(layers.map(|(id, site)| Candidate::Lora(id, site, lora.rank)));
    }
    if units.contains(&Unit::Adapter) {
        let places = context
            .insertion_points()
            .filter(|(_, p, _)| filter.has(&p.name, p.layer));
        modules
            .extend(places.map(|(id, place, _)| Candidate::Adapter(id, place, adapter.bottleneck)));
    }
    if units.contains(&Unit::Tensor) {
        let pool = Pool::new(&context.architecture.sites, context.site, spec)?;
        let sites = &context.architecture.sites;
        tensors.extend(
            pool.sites()
                .iter()
                .map(|&(id, _)| Candidate::Tensor(id, &sites[id])),
        );
    }
    let all = modules.len() + tensors.len();
    let size = modules.iter().chain(&tensors).map(Candidate::size).sum();
    let (mut left, mut taken, mut smallest) = (count, 0, u64::MAX);
    let halves = !modules.is_empty() && !tensors.is_empty();
    let spare = if halves { count - count / 2 } else { 0 };
    for (mut group, spare) in [(modules, spare), (tensors, 0)] {
        stream.shuffle(&mut group);
        for unit in group {
            let size = unit.size();
            if size + spare > left {
                smallest = smallest.min(size);
                continue;
            }
            left -= size;
            taken += 1;
            match unit {
                Candidate::Lora(id, site, rank) => {
                    let delta = LowRank::new(rank, lora.alpha);
                    layout.push(AttachPoint::Site(id), Target::Site(site), delta);
                }
                Candidate::Adapter(id, point, bottleneck) => {
                    let at = AttachPoint::InsertionPoint(id);
                    let delta = Bottleneck::new(bottleneck, adapter.deviation);
                    layout.push(at, Target::InsertionPoint(point), delta);
                }
                Candidate::Tensor(id, site) => {
                    layout.push(AttachPoint::Site(id), Target::Site(site), Dense);
                }
            }
        }
    }
    if taken == 0 {
        return Err(SpecError {
            field: "method.count".into(),
            problem: format!(
                "found {count}, the smallest unit has {smallest} parameters; raise the count, or draw elements"
            ),
        });
    }
    if left > 0 {
        let why = match all - taken {
            0 => "the pool has no more units",
            _ => "each of the other units is larger than what was left for it",
        };
        layout.note = format!(
            "{taken} of {all} units drawn; {left} parameters of the count are not used: {why}"
        );
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use apet_record::{Module, Part};
    use proptest::prelude::*;

    fn site(name: &str, shape: &[usize], part: Part, layer: Option<usize>) -> Site {
        Site {
            name: name.into(),
            tensor: name.into(),
            rows: None,
            shape: shape.to_vec(),
            module: match name.ends_with(".bias") {
                true => Module::Bias,
                false => part.module(),
            },
            part,
            cross: false,
            layer,
        }
    }

    fn sites() -> Vec<Site> {
        vec![
            site("embed.weight", &[50, 4], Part::Embedding, None),
            site("0.query.weight", &[4, 4], Part::Query, Some(0)),
            site("0.query.bias", &[4], Part::Query, Some(0)),
            site("1.value.weight", &[8, 4], Part::Value, Some(1)),
        ]
    }

    fn pool(modules: &[Module]) -> Pool {
        let spec = PoolSpec {
            modules: modules.to_vec(),
            ..PoolSpec::default()
        };
        Pool::new(&sites(), |_| true, &spec).unwrap()
    }

    fn all() -> Pool {
        pool(&[Module::Embedding, Module::Attention, Module::Bias])
    }

    fn drawn(placed: &Placed) -> u64 {
        placed.iter().map(|(_, places)| places.len() as u64).sum()
    }

    /// Places are within their tensors, ascending, each once.
    fn sound(placed: &Placed) -> bool {
        placed.iter().all(|(site, places)| {
            let size = sites()[*site].len() as u64;
            places.windows(2).all(|w| w[0] < w[1]) && places.iter().all(|&p| p < size)
        })
    }

    proptest! {
        #[test]
        fn counts_are_exact_from_one_to_all(count in 1u64..=252, seed in 0u64..1000) {
            let pool = all();
            prop_assert_eq!(pool.size(), 252);
            let stream = || Stream::new("placement", seed);
            let elements = elements(&pool, count, &mut stream()).unwrap();
            let rows = lines(&pool, Axis::Rows, count, &mut stream()).unwrap().0;
            let columns = lines(&pool, Axis::Columns, count, &mut stream()).unwrap().0;
            for placed in [&elements, &rows, &columns] {
                prop_assert_eq!(drawn(placed), count);
                prop_assert!(sound(placed));
            }
            // Another thread draws the same.
            let other = std::thread::scope(|scope| {
                scope.spawn(|| super::elements(&pool, count, &mut stream())).join()
            });
            prop_assert_eq!(other.unwrap().unwrap(), elements);
        }

        #[test]
        fn rows_and_columns_are_whole_but_the_last(count in 1u64..=252, seed in 0u64..200) {
            let mut stream = Stream::new("placement", seed);
            let rows = lines(&all(), Axis::Rows, count, &mut stream).unwrap().0;
            let mut broken = 0;
            for (site, places) in &rows {
                let width = *sites()[*site].shape.last().unwrap() as u64;
                let mut in_row = std::collections::BTreeMap::new();
                for place in places {
                    *in_row.entry(place / width).or_insert(0u64) += 1;
                }
                broken += in_row.values().filter(|&&n| n < width).count();
            }
            prop_assert!(broken <= 1);
        }
    }

    #[test]
    fn diagonals_are_drawn_from_matrices_alone() {
        let pool = all();
        let mut stream = Stream::new("placement", 3);
        // 4 of each matrix.
        let (placed, size) = diagonal(&pool, 12, &mut stream).unwrap();
        assert_eq!((size, drawn(&placed)), (12, 12));
        for (site, places) in placed {
            let expected: Vec<u64> = (0..4).map(|i| i * 4 + i).collect();
            assert_eq!(places, expected, "{}", sites()[site].name);
        }
        let text = diagonal(&pool, 13, &mut stream).unwrap_err().to_string();
        assert!(
            text.contains("found 13, the diagonals of the pool have 12"),
            "{text}"
        );
    }

    /// Chi-square of the places of many draws over the pool's scalars, 251 degrees of freedom:
    /// 330 is exceeded once in 2,000 tries.
    #[test]
    fn places_are_uniform_over_the_pool() {
        let pool = all();
        let (draws, count) = (2000u64, 40u64);
        let mut hits = vec![0f64; 252];
        let starts: Vec<u64> = pool
            .sizes()
            .scan(0, |start, (_, size)| {
                let here = *start;
                *start += size;
                Some(here)
            })
            .collect();
        for seed in 0..draws {
            let mut stream = Stream::new("placement", seed);
            for (site, places) in elements(&pool, count, &mut stream).unwrap() {
                let at = pool.sites().iter().position(|(id, _)| *id == site).unwrap();
                for place in places {
                    hits[(starts[at] + place) as usize] += 1.0;
                }
            }
        }
        let expected = (draws * count) as f64 / 252.0;
        // Drawing without replacement shrinks the variance by 1 - count / size.
        let shrink = 1.0 - count as f64 / 252.0;
        let chi: f64 = hits
            .iter()
            .map(|hit| (hit - expected).powi(2) / expected / shrink)
            .sum();
        assert!((180.0..330.0).contains(&chi), "chi-square {chi}");
    }

    #[test]
    fn a_count_beyond_the_pool_is_refused() {
        let mut stream = Stream::new("placement", 3);
        let text = elements(&all(), 253, &mut stream).unwrap_err().to_string();
        assert!(
            text.starts_with("method.count: found 253, the pool has 252 parameters"),
            "{text}"
        );
        let pool = PoolSpec {
            modules: vec![Module::Ffn],
            ..PoolSpec::default()
        };
        let text = Pool::new(&sites(), |_| true, &pool)
            .unwrap_err()
            .to_string();
        assert!(text.contains("selects no tensor of this model"), "{text}");
        let pool = PoolSpec {
            layers: Some(apet_record::Layers { first: 0, last: 2 }),
            ..PoolSpec::default()
        };
        let text = Pool::new(&sites(), |_| true, &pool)
            .unwrap_err()
            .to_string();
        assert_eq!(
            text,
            "method.pool.layers: found last 2, the model has blocks 0 to 1"
        );
    }
}
