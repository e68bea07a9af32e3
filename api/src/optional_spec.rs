//! Lets an object without `spec` be read: upstream's schemas make `spec` optional, kube's derive does not.

/// Reads a missing or null `spec` as its default instead of failing, which would hide the object from a watch.
///
/// The type derives serde with `remote = "Self"`, which yields the inherent functions that this delegates to.
macro_rules! optional_spec {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Self::serialize(self, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Spec;

                impl<'de> serde::de::Visitor<'de> for Spec {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a spec or none")
                    }

                    fn visit_none<E: serde::de::Error>(self) -> Result<$name, E> {
                        Ok($name::default())
                    }

                    fn visit_unit<E: serde::de::Error>(self) -> Result<$name, E> {
                        Ok($name::default())
                    }

                    fn visit_some<D: serde::Deserializer<'de>>(
                        self,
                        deserializer: D,
                    ) -> Result<$name, D::Error> {
                        $name::deserialize(deserializer)
                    }
                }

                // A missing field answers `deserialize_option` with none and everything else with an error.
                deserializer.deserialize_option(Spec)
            }
        }
    };
}

pub(crate) use optional_spec;
