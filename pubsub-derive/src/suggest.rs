//! Guesses what the user meant: the known word nearest to an unknown one, and a channel's name for a type.

/// Returns the `known` word that is nearest to `word`, if one is near enough for "did you mean".
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .filter_map(|candidate| Some((rank(&word, candidate)?, candidate)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, candidate)| candidate)
}

/// Returns how far `candidate` is from `word`, or `None` if they are too different.
fn rank(word: &str, candidate: &str) -> Option<usize> {
    let distance = distance(word, candidate);
    // A third of the letters may be wrong. With more, it is another word.
    let tolerated = word.chars().count().max(candidate.chars().count()) / 3;
    if distance <= tolerated.max(1) {
        return Some(distance);
    }
    // A long piece of the word counts as well: `attempts` for `max_attempts`.
    let part = word.len() >= 4 && candidate.split('_').any(|piece| piece == word);
    part.then_some(distance + candidate.len())
}

/// Returns the number of letters to insert, remove, replace or swap with their neighbour to turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

/// Returns `text` in snake case: `OrderPaid` and `Order Paid` are `order_paid`, `HTTPReply` is `http_reply`.
pub(crate) fn snake_case(text: &str) -> String {
    let letters: Vec<char> = text.trim().chars().collect();
    let mut snake = String::with_capacity(text.len() + 4);
    for (i, &letter) in letters.iter().enumerate() {
        if letter.is_whitespace() {
            snake.push('_');
            continue;
        }
        let before = i.checked_sub(1).map(|b| letters[b]);
        let after = letters.get(i + 1);
        let starts_a_word = letter.is_uppercase()
            && before.is_some_and(|b| {
                b.is_lowercase()
                    || b.is_ascii_digit()
                    || b.is_uppercase() && after.is_some_and(|a| a.is_lowercase())
            });
        if starts_a_word {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 6] = ["max_attempts", "backoff", "version", "crate", "max_panics", "timeout"];

    #[test]
    fn a_misspelled_word_finds_its_key() {
        let slips = [
            ("max_atempts", "max_attempts"),
            ("maxattempts", "max_attempts"),
            ("max-attempts", "max_attempts"),
            ("MAX_ATTEMPTS", "max_attempts"),
            ("max_attmepts", "max_attempts"),
            ("attempts", "max_attempts"),
            ("bakcoff", "backoff"),
            ("back_off", "backoff"),
            ("verson", "version"),
            ("max_panic", "max_panics"),
        ];
        for (slip, meant) in slips {
            assert_eq!(nearest(slip, KEYS), Some(meant), "{slip}");
        }
    }

    #[test]
    fn another_word_finds_nothing() {
        for word in ["", "x", "priority", "queue", "delay", "max", "retention_period"] {
            assert_eq!(nearest(word, KEYS), None, "{word}");
        }
    }

    #[test]
    fn neighbours_swapped_count_once() {
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("größe", "grösse"), 2);
    }

    #[test]
    fn snake_case_splits_where_words_start() {
        let cases = [
            ("OrderPaid", "order_paid"),
            ("SMS", "sms"),
            ("HTTPReply", "http_reply"),
            ("SmsV2", "sms_v2"),
            ("Step2Done", "step2_done"),
            ("Order Paid", "order_paid"),
            ("user.Email", "user.email"),
            (" sms ", "sms"),
            ("already_snake", "already_snake"),
        ];
        for (text, snake) in cases {
            assert_eq!(snake_case(text), snake, "{text}");
        }
    }
}
