//! Words of closed enums, by their serde names: one list of words for decoding, for messages and for stand-ins.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::codes::Code;
use super::decode::wrong_type;
use super::session::Session;
use super::tree::Node;
use super::words::one_of;

/// A word of a closed enum, by its serde names.
pub(crate) fn decode_word<T: DeserializeOwned>(node: &Node, session: &mut Session<'_>) -> Option<T> {
    session.range = None;
    let Some(text) = node.text() else {
        wrong_type(node, &one_of(words_of::<T>()), session);
        return None;
    };
    if let Ok(word) = T::deserialize(StrDeserializer::<serde::de::value::Error>::new(text)) {
        return Some(word);
    }
    let words = words_of::<T>();
    session
        .error(Code::UnknownWord, node.spot, format!("`{text}` is not known here"))
        .expecting(one_of(words))
        .suggesting(text, words);
    None
}

/// The first word of a closed enum.
pub(crate) fn first_word<T: DeserializeOwned>() -> Option<T> {
    let word = words_of::<T>().first()?;
    T::deserialize(StrDeserializer::<serde::de::value::Error>::new(word)).ok()
}

/// The serde names of an enum's variants.
pub(crate) fn words_of<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Probe<'a>(&'a mut &'static [&'static str]);
    impl<'de> Deserializer<'de> for Probe<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_enum<V: Visitor<'de>>(
            self,
            _name: &'static str,
            variants: &'static [&'static str],
            _visitor: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = variants;
            Err(serde::de::Error::custom("only asked for the names"))
        }

        fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
            Err(serde::de::Error::custom("not an enum"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map struct identifier ignored_any
        }
    }
    let mut words: &'static [&'static str] = &[];
    let _ = T::deserialize(Probe(&mut words));
    words
}

/// Makes closed enums decodable by their serde names.
macro_rules! words {
    ($($word:ty),+ $(,)?) => {
        $(impl $crate::spec::decode::Decode for $word {
            fn decode(
                node: &$crate::spec::tree::Node,
                session: &mut $crate::spec::session::Session<'_>,
            ) -> Option<Self> {
                $crate::spec::closed::decode_word(node, session)
            }

            fn stand_in(_spot: $crate::spec::tree::Spot) -> Option<Self> {
                $crate::spec::closed::first_word()
            }
        })+
    };
}
pub(crate) use words;

words!(
    crate::job::SourceFormat,
    crate::job::PiiAction,
    crate::job::DedupScope,
    crate::job::SplitUnit,
    crate::job::WordRule,
    crate::job::Digits,
    crate::job::TokenizerAlgorithm,
    crate::job::Family,
    crate::job::Activation,
    crate::job::ModelType,
    crate::job::LayerType,
    crate::job::MatrixOptimizer,
    crate::job::BestMetric,
    crate::job::Export,
    crate::job::LrShape,
    crate::job::Packing,
    crate::job::FitMethod,
    crate::job::Recompute,
    crate::job::TrainOn,
    crate::job::LoraTarget,
    crate::job::Labeler,
    crate::job::Method,
    crate::job::Scoring,
    crate::job::Device,
    crate::job::Precision,
    crate::spec::JobKind,
    crate::spec::Overlap,
    crate::spec::CatchUp,
    crate::spec::Approval,
);
