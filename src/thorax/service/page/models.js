// The models that this page knows, by the hash of their bundle: what their findings mean.

let models = new Map();

export function rememberModels(described) {
  models = new Map(described.map((model) => [model.bundle_sha256, model]));
}

/** Return the description of the model that gave an answer. */
export const modelOf = (answer) => models.get(answer.model.bundle_sha256);

/** Return how the limits of the gate of a model were set, by the model's name; "" if it has no fitted gate. */
export const gateLimits = (name) => [...models.values()].find((model) => model.name === name)?.gate ?? "";

/** Return what the model that gave an answer says of a finding: label, meaning, rates and prevalence. */
export function findingOf(answer, name) {
  const known = modelOf(answer)?.findings.find((finding) => finding.name === name);
  return known ?? { name, label: name, meaning: "", sensitivity: null, specificity: null, prevalence: null };
}
