//! Decides when to report a problem again.

use std::collections::HashMap;
use std::hash::Hash;

/// The problems that were reported, each with its size at that time. The size is its age, or any other measure.
///
/// A problem is reported when it is new, and whenever its size has doubled. So a problem that lasts for a month, and is checked
/// four times a minute, is reported a dozen times.
#[derive(Debug)]
pub(crate) struct Reminders<K> {
    said: HashMap<K, f64>,
}

impl<K> Default for Reminders<K> {
    fn default() -> Self {
        Self { said: HashMap::new() }
    }
}

impl<K: Eq + Hash> Reminders<K> {
    /// Takes all present problems, each with its size, and returns for each of them whether to report it. Forgets the problems
    /// that have ended.
    pub(crate) fn due(&mut self, wrong: Vec<(K, f64)>) -> Vec<bool> {
        let mut before = std::mem::take(&mut self.said);
        let mut judge = |(key, size): (K, f64)| {
            // A smaller size means that the problem has ended and started again.
            let said = before.remove(&key).filter(|&said| said <= size && size < said * 2.0);
            self.said.insert(key, said.unwrap_or(size));
            said.is_none()
        };
        wrong.into_iter().map(&mut judge).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_problem_is_reported_when_new_and_each_time_it_doubles() {
        let mut reminders = Reminders::default();
        let said = (10..=80).filter(|&age| reminders.due(vec![("a", f64::from(age))])[0]);
        assert_eq!(said.collect::<Vec<_>>(), [10, 20, 40, 80]);
    }

    #[test]
    fn a_problem_that_comes_back_is_new() {
        let mut reminders = Reminders::default();
        assert_eq!(reminders.due(vec![("a", 10.0), ("b", 10.0)]), [true, true]);
        assert_eq!(reminders.due(vec![("b", 11.0)]), [false]);
        assert_eq!(reminders.due(vec![("a", 12.0), ("b", 12.0)]), [true, false]);
        assert_eq!(reminders.due(vec![("a", 5.0), ("b", 13.0)]), [true, false], "a has started again");
    }

    proptest! {
        #[test]
        fn nothing_is_kept_of_problems_that_are_over(wrong in proptest::collection::vec((0..10_u8, 0.0..1e9), 0..20)) {
            let mut reminders = Reminders::default();
            reminders.due(wrong.clone());
            prop_assert!(reminders.said.keys().all(|key| wrong.iter().any(|(wrong, _)| wrong == key)));
            reminders.due(Vec::new());
            prop_assert!(reminders.said.is_empty());
        }
    }
}
