//! How much is guessed, by how much of it was right: a guess that is wrong makes its pass longer for nothing.
//!
//! Each request begins with short guesses. They grow as long as they are right and shrink to what was right of them. Where nothing was right they
//! halve; where nothing was right twice in a row they pause, for twice as long as the time before: in a text that repeats nothing all but a few of
//! a hundred passes check one token, and one wrong guess between right ones costs no more than itself.

use std::collections::BTreeMap;

use super::{Drafter, GenerateError, Guess, RequestId};

/// Tokens that a request's first guess has at most.
const FIRST: usize = 3;
/// Passes without a guess, at most.
const LONGEST_PAUSE: u32 = 64;

/// A drafter whose guesses are as long as they are worth it. It changes no answer, as no drafter does.
#[derive(Debug)]
pub struct Paced<D> {
    drafter: D,
    paces: BTreeMap<RequestId, Pace>,
}

/// A request's pace.
#[derive(Debug)]
struct Pace {
    /// Tokens that the next guess may have.
    most: usize,
    /// Whether nothing was right of the last guess.
    missed: bool,
    /// Passes to go without a guess.
    pause: u32,
    /// Pause behind the next guess of which nothing is right.
    next_pause: u32,
    /// The last guess, and how many tokens were known before it.
    guess: Vec<u32>,
    known: usize,
}

impl Pace {
    fn new() -> Self {
        Self { most: FIRST, missed: false, pause: 0, next_pause: 1, guess: Vec::new(), known: 0 }
    }

    /// Takes what became of the last guess.
    fn settle(&mut self, tokens: &[u32]) {
        let guess = std::mem::take(&mut self.guess);
        // A request that ran no further has not checked it.
        if guess.is_empty() || tokens.len() <= self.known {
            return;
        }
        let right = guess.iter().zip(&tokens[self.known..]).take_while(|(a, b)| a == b).count();
        self.most = match right {
            0 if self.missed => 1,
            0 => (self.most / 2).max(1),
            right if right == guess.len() => self.most.max(2 * right),
            right => right,
        };
        if right > 0 {
            self.next_pause = 1;
        } else if self.missed {
            self.pause = self.next_pause;
            self.next_pause = (2 * self.next_pause).min(LONGEST_PAUSE);
        }
        self.missed = right == 0;
    }

    /// Tokens that may be guessed now.
    fn room(&mut self, most: usize) -> usize {
        if self.pause > 0 {
            self.pause -= 1;
            return 0;
        }
        self.most.min(most)
    }
}

impl<D: Drafter> Paced<D> {
    /// Paces a drafter.
    pub fn new(drafter: D) -> Self {
        Self { drafter, paces: BTreeMap::new() }
    }
}

impl<D: Drafter> Drafter for Paced<D> {
    fn draft(&mut self, guesses: &[Guess<'_>]) -> Result<Vec<Vec<u32>>, GenerateError> {
        let mut rooms = Vec::with_capacity(guesses.len());
        for guess in guesses {
            let pace = self.paces.entry(guess.id).or_insert_with(Pace::new);
            pace.settle(guess.tokens);
            rooms.push(pace.room(guess.most));
        }
        let asked: Vec<Guess<'_>> = guesses
            .iter()
            .zip(&rooms)
            .filter(|(_, room)| **room > 0)
            .map(|(guess, &most)| Guess { most, ..*guess })
            .collect();
        let mut drafts = if asked.is_empty() { Vec::new() } else { self.drafter.draft(&asked)? }.into_iter();
        let mut all = Vec::with_capacity(guesses.len());
        for (guess, room) in guesses.iter().zip(rooms) {
            let mut draft = if room > 0 { drafts.next().unwrap_or_default() } else { Vec::new() };
            draft.truncate(room);
            if let Some(pace) = self.paces.get_mut(&guess.id) {
                pace.guess.clone_from(&draft);
                pace.known = guess.tokens.len();
            }
            all.push(draft);
        }
        Ok(all)
    }

    fn end(&mut self, id: RequestId) {
        self.paces.remove(&id);
        self.drafter.end(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Sampler, Sampling};

    /// Guesses sevens.
    struct Sevens;

    impl Drafter for Sevens {
        fn draft(&mut self, guesses: &[Guess<'_>]) -> Result<Vec<Vec<u32>>, GenerateError> {
            assert!(guesses.iter().all(|guess| guess.most > 0), "nobody is asked for nothing");
            Ok(guesses.iter().map(|guess| vec![7; guess.most.min(16)]).collect())
        }
    }

    /// Lengths of the guesses while a text goes on, of which `is_right` of them come true.
    fn lengths(
        text: &mut Vec<u32>,
        passes: usize,
        is_right: impl Fn(usize) -> usize,
        most: usize,
    ) -> Vec<usize> {
        let (mut drafter, sampler) = (Paced::new(Sevens), Sampler::new(Sampling::greedy(), &[], 0));
        (0..passes)
            .map(|_| {
                let guess = Guess { id: RequestId(1), tokens: text, sampler: &sampler, most };
                let drafted = drafter.draft(&[guess]).unwrap().remove(0);
                let right = is_right(drafted.len()).min(drafted.len());
                text.extend(vec![7; right]);
                text.push(1);
                drafted.len()
            })
            .collect()
    }

    #[test]
    fn right_guesses_grow_and_wrong_ones_become_rare() {
        assert_eq!(lengths(&mut vec![3], 5, |guessed| guessed, 100), [3, 6, 12, 16, 16]);
        assert_eq!(lengths(&mut vec![3], 3, |guessed| guessed, 5), [3, 5, 5]);
        let wrong = lengths(&mut vec![3], 200, |_| 0, 100);
        assert_eq!(wrong[..12], [3, 1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1]);
        let (passes, tokens) = (wrong.iter().filter(|len| **len > 0).count(), wrong.iter().sum::<usize>());
        assert!(passes <= 10 && tokens <= 12, "{passes} of 200 passes guessed {tokens} wrong tokens");
        // Right and wrong ones by turns: no pass goes without a guess.
        let turn = std::cell::Cell::new(false);
        let by_turns = |guessed| if turn.replace(!turn.get()) { 0 } else { guessed };
        assert_eq!(lengths(&mut vec![3], 6, by_turns, 100), [3, 6, 3, 6, 3, 6]);
        // Two of each guess are right: no more is guessed.
        assert_eq!(lengths(&mut vec![3], 5, |_| 2, 100), [3, 2, 4, 2, 4]);
    }
}
