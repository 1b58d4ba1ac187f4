//! Tasks that are created together and wait for each other: an order to create them in, or the circle that
//! makes one impossible.

/// An order in which every task comes after those it waits for. `waits_for[i]` are the positions that the
/// task at position `i` waits for.
///
/// # Errors
/// The positions of a circle, each waiting for the next one, the last for the first.
pub fn order(waits_for: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; waits_for.len()];
    let mut order = Vec::with_capacity(waits_for.len());
    // Depth first with a stack of our own: a chain of a thousand tasks is no reason to overflow one.
    let mut path: Vec<(usize, usize)> = Vec::new();
    for root in 0..waits_for.len() {
        if marks[root] != Mark::New {
            continue;
        }
        marks[root] = Mark::Open;
        path.push((root, 0));
        while let Some((at, next)) = path.last_mut() {
            let at = *at;
            let Some(&parent) = waits_for[at].get(*next) else {
                marks[at] = Mark::Done;
                order.push(at);
                path.pop();
                continue;
            };
            *next += 1;
            match marks[parent] {
                Mark::Done => {}
                Mark::New => {
                    marks[parent] = Mark::Open;
                    path.push((parent, 0));
                }
                Mark::Open => {
                    let from = path.iter().position(|(on_path, _)| *on_path == parent).unwrap_or(0);
                    return Err(path[from..].iter().map(|(on_path, _)| *on_path).collect());
                }
            }
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first_and_circles_are_named() {
        assert_eq!(order(&[]), Ok(vec![]));
        assert_eq!(order(&[vec![2], vec![0], vec![]]), Ok(vec![2, 0, 1]));
        assert_eq!(order(&[vec![1, 2], vec![3], vec![3], vec![]]), Ok(vec![3, 1, 2, 0]));
        assert_eq!(order(&[vec![0]]), Err(vec![0]));
        assert_eq!(order(&[vec![1], vec![2], vec![1]]), Err(vec![1, 2]));
        let chain: Vec<Vec<usize>> =
            (0..100_000).map(|i| if i + 1 < 100_000 { vec![i + 1] } else { vec![] }).collect();
        assert_eq!(order(&chain).map(|order| order[0]), Ok(99_999));
    }
}
