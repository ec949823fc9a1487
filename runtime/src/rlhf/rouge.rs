//! ROUGE-L: how much of a reference's word sequence an answer holds.
//!
//! Source: Lin, ROUGE: A Package for Automatic Evaluation of Summaries (2004). The score is F1 over the longest common
//! subsequence of words. Words are as in Google's `rouge_score`: lower case, runs of ASCII letters and digits, no stemming.

/// A text as ROUGE's words.
pub fn rouge_words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// ROUGE-L F1 of an answer against a reference, 0 to 1; 0 where either has no word.
pub fn rouge_l(answer: &str, reference: &str) -> f64 {
    let (answer, reference) = (rouge_words(answer), rouge_words(reference));
    let common = common_subsequence(&answer, &reference) as f64;
    if common == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (common / answer.len() as f64, common / reference.len() as f64);
    2.0 * precision * recall / (precision + recall)
}

/// Length of the longest common subsequence.
fn common_subsequence(a: &[String], b: &[String]) -> usize {
    let mut row = vec![0usize; b.len() + 1];
    for word in a {
        let mut diagonal = 0;
        for (j, other) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if word == other { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_of_the_published_definition() {
        // 5 of 6 words in order on both sides, by hand; then texts without a common word.
        let score = rouge_l("The cat sat on the mat.", "the cat lay on the mat");
        assert!((score - 5.0 / 6.0).abs() < 1e-12, "{score}");
        assert!((rouge_l("a b c d", "b d") - 2.0 / 3.0).abs() < 1e-12);
        assert!(rouge_l("", "a").abs() < 1e-12);
        assert!((rouge_l("x_y", "X, Y!") - 1.0).abs() < 1e-12);
    }
}
