//! The contents of a theta as names and counts, and the positions of its parameters as data
//! for a figure.

use std::collections::BTreeMap;

use apet_plm::ModelArchitecture;
use serde::Serialize;

use crate::{
    delta::Cells,
    theta::Layout,
    weight::{AttachPoint, Operation, Weight},
};

/// What theta consists of. The head is not counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// L: how many weights W_i.
    pub weights: usize,
    /// Parameters asked for.
    pub requested_parameters: u64,
    /// Parameters that are tuned.
    pub trainable_parameters: u64,
    /// Parameters of the head.
    pub head: u64,
    /// Parameters by operation: ADD, CONCAT, PLUG, where there are any.
    pub operations: BTreeMap<&'static str, u64>,
    /// Parameters by structure: `sparse`, `low_rank_a`, ...
    pub structures: BTreeMap<&'static str, u64>,
    /// Parameters by block; those outside the blocks under none.
    pub layers: Vec<(Option<usize>, u64)>,
    /// Every weight.
    pub sites: Vec<Described>,
}

/// One weight W_i.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Described {
    /// Its name in files.
    pub name: String,
    /// The site or place.
    pub at: String,
    /// ADD, CONCAT or PLUG.
    pub operation: &'static str,
    /// How it acts.
    pub structure: &'static str,
    /// Shape.
    pub shape: Vec<usize>,
    /// Its scalars.
    pub count: usize,
}

/// Where theta's parameters lie.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PositionMap {
    /// Counts by block and part of the block: `(block, part, count, scalars that there are)`.
    pub blocks: Vec<(Option<usize>, String, u64, u64)>,
    /// A grid for each matrix that has any.
    pub grids: Vec<Grid>,
}

/// Counts of a matrix's tuned scalars, on a coarser grid.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Grid {
    /// The site's name.
    pub site: String,
    /// Its block, and its part of the block, as in [`PositionMap::blocks`].
    pub block: Option<usize>,
    /// Its part of the block.
    pub part: String,
    /// Rows and columns of the matrix; a vector has one row.
    pub shape: [usize; 2],
    /// Rows and columns of the grid.
    pub cells: [usize; 2],
    /// Tuned scalars in each cell, row by row.
    pub counts: Vec<u32>,
}

impl Layout {
    /// L, and exact counts by operation, structure, block and site.
    pub fn describe(&self, architecture: &ModelArchitecture) -> Description {
        let mut operations = BTreeMap::new();
        let mut structures = BTreeMap::new();
        let mut layers = BTreeMap::new();
        let mut sites = Vec::new();
        for weight in self.weights.iter().filter(|w| !w.is_head()) {
            let count = weight.len() as u64;
            let kind = self.deltas[weight.delta].delta.kind();
            let operation = kind.operation.map_or("", Operation::name);
            let structure = weight.part;
            *operations.entry(operation).or_default() += count;
            *structures.entry(structure).or_default() += count;
            *layers.entry(weight.layer(architecture)).or_default() += count;
            sites.push(Described {
                name: weight.name.clone(),
                at: name_of(weight, architecture).to_owned(),
                operation,
                structure,
                shape: weight.shape.clone(),
                count: weight.len(),
            });
        }
        Description {
            weights: self.info.weights,
            requested_parameters: self.info.requested_parameters,
            trainable_parameters: self.info.trainable_parameters,
            head: self.info.head,
            operations,
            structures,
            layers: layers.into_iter().collect(),
            sites,
        }
    }

    /// Where the parameters lie: counts by block and part, and for each tensor with sparse
    /// or whole-tensor weights a grid of at most `cells` x `cells`.
    pub fn position_map(&self, architecture: &ModelArchitecture, cells: usize) -> PositionMap {
        let mut blocks: BTreeMap<(Option<usize>, String), (u64, u64)> = BTreeMap::new();
        for site in &architecture.sites {
            let key = (site.layer, part_of_site(site).to_owned());
            blocks.entry(key).or_default().1 += site.len() as u64;
        }
        let mut grids = Vec::new();
        for weight in self.weights.iter().filter(|w| !w.is_head()) {
            let Some(part) = part_of(weight, architecture) else {
                continue;
            };
            blocks
                .entry((weight.layer(architecture), part))
                .or_default()
                .0 += weight.len() as u64;
            let changed = self.deltas[weight.delta].delta.cells();
            grids.extend(grid(weight, changed, architecture, cells.max(1)));
        }
        let blocks = blocks
            .into_iter()
            .map(|((layer, part), (count, all))| (layer, part, count, all));
        PositionMap {
            blocks: blocks.collect(),
            grids,
        }
    }

    /// How far values are from others, such as those they began with, by block and part of the block: the length of the
    /// difference. Both are in the order of theta's flat vector.
    pub fn apart(
        &self,
        architecture: &ModelArchitecture,
        from: &[f32],
        to: &[f32],
    ) -> Vec<(Option<usize>, String, f64)> {
        let mut squares: BTreeMap<(Option<usize>, String), f64> = BTreeMap::new();
        for weight in &self.weights {
            let Some(part) = part_of(weight, architecture) else {
                continue;
            };
            let own = weight.offset..weight.offset + weight.len();
            let (from, to) = (from.get(own.clone()), to.get(own));
            let pairs = from.unwrap_or_default().iter().zip(to.unwrap_or_default());
            let sum = pairs.map(|(a, b)| f64::from(b - a).powi(2));
            *squares
                .entry((weight.layer(architecture), part))
                .or_default() += sum.sum::<f64>();
        }
        let lengths = squares.into_iter();
        lengths
            .map(|((block, part), sum)| (block, part, sum.sqrt()))
            .collect()
    }
}

/// The part of a block that a weight acts in; none of the head's.
fn part_of(weight: &Weight, architecture: &ModelArchitecture) -> Option<String> {
    match weight.at {
        AttachPoint::Site(site) => Some(part_of_site(&architecture.sites[site]).to_owned()),
        AttachPoint::InsertionPoint(place) => {
            let name = &architecture.insertion_points[place].name;
            Some(name.rsplit('.').next().unwrap_or(name).to_owned())
        }
        AttachPoint::Head => None,
    }
}

/// A bias has another part than the weight of its layer.
fn part_of_site(site: &apet_plm::Site) -> &'static str {
    match site.module {
        apet_record::Module::Bias => "bias",
        _ => site.part.name(),
    }
}

fn name_of<'a>(weight: &'a Weight, architecture: &'a ModelArchitecture) -> &'a str {
    match weight.at {
        AttachPoint::Site(site) => &architecture.sites[site].name,
        AttachPoint::InsertionPoint(place) => &architecture.insertion_points[place].name,
        AttachPoint::Head => &weight.name,
    }
}

fn grid(
    weight: &Weight,
    changed: Cells<'_>,
    architecture: &ModelArchitecture,
    most: usize,
) -> Option<Grid> {
    let AttachPoint::Site(site) = weight.at else {
        return None;
    };
    let site = &architecture.sites[site];
    let shape = match site.shape[..] {
        [rows, columns] => [rows, columns],
        _ => [1, site.len()],
    };
    let cells = shape.map(|size| size.min(most));
    let mut counts = vec![0u32; cells[0] * cells[1]];
    let cell = |at: usize, axis: usize| at * cells[axis] / shape[axis];
    match changed {
        Cells::At(positions) => {
            for &position in positions {
                let (row, column) = (position as usize / shape[1], position as usize % shape[1]);
                counts[cell(row, 0) * cells[1] + cell(column, 1)] += 1;
            }
        }
        Cells::All => {
            // Rows that fall into each cell, times columns.
            let sizes = [0, 1].map(|axis| {
                let mut sizes = vec![0u32; cells[axis]];
                (0..shape[axis]).for_each(|at| sizes[cell(at, axis)] += 1);
                sizes
            });
            for (row, rows) in sizes[0].iter().enumerate() {
                for (column, columns) in sizes[1].iter().enumerate() {
                    counts[row * cells[1] + column] = rows * columns;
                }
            }
        }
        Cells::None => return None,
    }
    Some(Grid {
        site: site.name.clone(),
        block: site.layer,
        part: part_of_site(site).to_owned(),
        shape,
        cells,
        counts,
    })
}
