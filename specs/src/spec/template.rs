//! Specs to start from, for `cupola init`: commented, valid, and complete.

/// A spec to start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// Every stage of the way in some minutes, from the crates in cargo's registry.
    Quickstart,
    /// Texts to a corpus and a tokenizer.
    Corpus,
    /// Texts to a base model, with a scaling law.
    Pretrain,
    /// A base model to a chat model that is served.
    Chat,
}

impl Template {
    /// Every template.
    pub const ALL: [Self; 4] = [Self::Quickstart, Self::Corpus, Self::Pretrain, Self::Chat];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quickstart => "quickstart",
            Self::Corpus => "corpus",
            Self::Pretrain => "pretrain",
            Self::Chat => "chat",
        }
    }

    /// The spec.
    pub fn text(self) -> &'static str {
        match self {
            Self::Quickstart => include_str!("../../templates/quickstart.yaml"),
            Self::Corpus => include_str!("../../templates/corpus.yaml"),
            Self::Pretrain => include_str!("../../templates/pretrain.yaml"),
            Self::Chat => include_str!("../../templates/chat.yaml"),
        }
    }

    /// What must be there before it runs, in words; none where it runs as it is.
    pub fn needs(self) -> Option<&'static str> {
        match self {
            Self::Quickstart => None,
            Self::Corpus => Some("texts in ./texts (*.txt) and ./notes (*.md)"),
            Self::Pretrain => Some("texts in ./texts (*.txt)"),
            Self::Chat => Some(
                "a base model in ./model, chats in ./chats and ./held-out (*.jsonl), ./prompts.jsonl and ./held-out-prompts.jsonl",
            ),
        }
    }
}
