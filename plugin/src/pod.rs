use cni::{Args, Code, Error};

/// The pod that a sandbox belongs to, from `CNI_ARGS`.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its UID; empty from a runtime that does not tell.
    pub uid: &'a str,
}

impl<'a> Pod<'a> {
    /// For ADD, which cannot do without the pod's name.
    pub fn required(args: &'a Args) -> Result<Self, Error> {
        let pod = Self::known(args);
        for (key, value) in [("K8S_POD_NAMESPACE", pod.namespace), ("K8S_POD_NAME", pod.name)] {
            if value.is_empty() {
                let why = format!(
                    "CNI_ARGS lacks {key}: addresses are given to Kubernetes pods only, and the runtime (or Multus) must say which"
                );
                return Err(Error::new(Code::InvalidEnvironment, why));
            }
        }
        Ok(pod)
    }

    /// For DEL, which must do with what is left; the agent can go by the sandbox.
    #[must_use]
    pub fn known(args: &'a Args) -> Self {
        let get = |key| args.get(key).unwrap_or_default();
        Self { namespace: get("K8S_POD_NAMESPACE"), name: get("K8S_POD_NAME"), uid: get("K8S_POD_UID") }
    }
}
