use cni::{Args, Code, Error};

/// The pod that a sandbox belongs to, from `CNI_ARGS`.
pub(crate) struct Pod<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// Empty from a runtime that does not tell.
    pub(crate) uid: &'a str,
}

impl<'a> Pod<'a> {
    /// For ADD, which cannot do without the pod's name.
    pub(crate) fn required(args: &'a Args) -> Result<Self, Error> {
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
    pub(crate) fn known(args: &'a Args) -> Self {
        let get = |key| args.get(key).unwrap_or_default();
        Self { namespace: get("K8S_POD_NAMESPACE"), name: get("K8S_POD_NAME"), uid: get("K8S_POD_UID") }
    }
}
