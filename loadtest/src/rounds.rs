//! What several rounds of one measurement say together.

/// A figure, measured once a round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rounds(Vec<f64>);

impl Rounds {
    /// One more round.
    pub(crate) fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The figure in the middle; of two, the mean. Nothing without rounds.
    pub(crate) fn median(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let (half, odd) = (sorted.len() / 2, sorted.len() % 2 == 1);
        let upper = sorted.get(half)?;
        match odd {
            true => Some(*upper),
            false => Some((sorted.get(half.checked_sub(1)?)? + upper) / 2.0),
        }
    }

    /// The lowest and the highest.
    pub(crate) fn range(&self) -> Option<(f64, f64)> {
        let low = self.0.iter().copied().reduce(f64::min)?;
        let high = self.0.iter().copied().reduce(f64::max)?;
        Some((low, high))
    }
}

impl FromIterator<f64> for Rounds {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlier_does_not_move_the_median() {
        let rounds = Rounds::from_iter([5.0, 900.0, 4.0]);
        assert_eq!(rounds.median(), Some(5.0));
        assert_eq!(rounds.range(), Some((4.0, 900.0)));
    }

    #[test]
    fn of_an_even_number_the_median_lies_between_the_middle_two() {
        assert_eq!(Rounds::from_iter([1.0, 9.0, 2.0, 4.0]).median(), Some(3.0));
        assert_eq!(Rounds::default().median(), None);
    }
}
