//! A text from which lines and parts of lines are taken out, with the way back to the text that it came from.

/// Bytes that a rule took out, in the text as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// The rule, an index into [`super::Ruleset::rules`].
    pub rule: usize,
    /// The first byte.
    pub start: usize,
    /// The byte behind the last one.
    pub end: usize,
}

/// A stretch that stayed.
#[derive(Debug, Clone, Copy)]
struct Piece {
    /// Where it is in the new text.
    new: usize,
    /// Where it was in the text as it came.
    old: usize,
    /// Bytes.
    length: usize,
}

/// A text that is edited rule set by rule set. Line breaks that join what stayed are no piece: they may be new.
#[derive(Debug, Default)]
pub(super) struct Edit {
    pieces: Vec<Piece>,
}

/// The text that one rule set makes.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// What stays.
    pub(super) text: String,
    pieces: Vec<Piece>,
    removed: Vec<Removed>,
    has_line: bool,
    /// Whether a part of a line was taken out, so that words may be others.
    has_cut: bool,
}

impl Edit {
    /// Nothing was taken out of a text of so many bytes.
    pub(super) fn of(length: usize) -> Self {
        Self { pieces: vec![Piece { new: 0, old: 0, length }] }
    }

    /// Takes a draft over, and gives what was taken out in terms of the text as it came.
    pub(super) fn accept(&mut self, draft: &mut Draft, removed: &mut Vec<Removed>) {
        for gone in &draft.removed {
            for (_, old, length) in self.origins(gone.start, gone.end) {
                let next = Removed { rule: gone.rule, start: old, end: old + length };
                match removed.last_mut() {
                    Some(last) if last.rule == next.rule && last.end == next.start => last.end = next.end,
                    _ => removed.push(next),
                }
            }
        }
        let mut pieces = Vec::with_capacity(draft.pieces.len());
        for piece in &draft.pieces {
            for (at, old, length) in self.origins(piece.old, piece.old + piece.length) {
                pieces.push(Piece { new: piece.new + (at - piece.old), old, length });
            }
        }
        self.pieces = pieces;
    }

    /// The parts of a stretch of the present text that were in the text as it came: where they are, where they were, bytes.
    fn origins(&self, start: usize, end: usize) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        let first = self.pieces.partition_point(|piece| piece.new + piece.length <= start);
        self.pieces[first..].iter().take_while(move |piece| piece.new < end).map(move |piece| {
            let from = piece.new.max(start);
            let to = (piece.new + piece.length).min(end);
            (from, piece.old + (from - piece.new), to - from)
        })
    }
}

impl Draft {
    /// Starts a new line.
    pub(super) fn start_line(&mut self) {
        if std::mem::replace(&mut self.has_line, true) {
            self.text.push('\n');
        }
    }

    /// Keeps a stretch of the text.
    pub(super) fn keep(&mut self, text: &str, start: usize, end: usize) {
        if start < end {
            self.pieces.push(Piece { new: self.text.len(), old: start, length: end - start });
            self.text.push_str(&text[start..end]);
        }
    }

    /// Takes a part of a line out.
    pub(super) fn cut(&mut self, rule: usize, start: usize, end: usize) {
        self.has_cut = true;
        self.remove(rule, start, end);
    }

    /// The whole lines that are gone; none where words beside them may have changed too, or where more is gone than stays.
    pub(super) fn removed_lines(&self) -> Option<&[Removed]> {
        let bytes: usize = self.removed.iter().map(|gone| gone.end - gone.start).sum();
        (!self.has_cut && bytes < self.text.len()).then_some(&self.removed)
    }

    /// Takes whole lines out.
    pub(super) fn remove(&mut self, rule: usize, start: usize, end: usize) {
        if start < end {
            self.removed.push(Removed { rule, start, end });
        }
    }

    /// Takes blanks off the ends of the whole.
    pub(super) fn trim(&mut self) {
        let end = self.text.trim_end_matches(super::chars::is_blank).len();
        self.text.truncate(end);
        let start = end - self.text.trim_start_matches(super::chars::is_blank).len();
        self.text.drain(..start);
        self.pieces.retain_mut(|piece| {
            let (from, to) = (piece.new.max(start), (piece.new + piece.length).min(end));
            if from >= to {
                return false;
            }
            *piece = Piece { new: from - start, old: piece.old + (from - piece.new), length: to - from };
            true
        });
    }
}
