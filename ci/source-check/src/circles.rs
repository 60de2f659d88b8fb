//! Circles in a graph.

use std::collections::{BTreeSet, VecDeque};

use crate::imports::Graph;

/// The shortest circle through each file that is on one, each circle once, the shortest ones first.
pub(crate) fn shortest(graph: &Graph) -> Vec<Vec<usize>> {
    let found: BTreeSet<(usize, Vec<usize>)> = (0..graph.files.len())
        .filter_map(|file| shortest_through(graph, file))
        .map(|circle| (circle.len(), smallest_first(circle)))
        .collect();
    found.into_iter().map(|(_, circle)| circle).collect()
}

/// Breadth first, so what comes back first is the shortest.
fn shortest_through(graph: &Graph, start: usize) -> Option<Vec<usize>> {
    let mut came_from = vec![None; graph.files.len()];
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        for &next in graph.uses[file].keys() {
            if next == start {
                let mut circle: Vec<usize> =
                    std::iter::successors(Some(file), |&file| came_from[file]).collect();
                circle.reverse();
                return Some(circle);
            }
            if came_from[next].is_none() {
                came_from[next] = Some(file);
                queue.push_back(next);
            }
        }
    }
    None
}

fn smallest_first(mut circle: Vec<usize>) -> Vec<usize> {
    let at = circle.iter().enumerate().min_by_key(|&(_, file)| file).map_or(0, |(at, _)| at);
    circle.rotate_left(at);
    circle
}
