// The prediction of one radiograph as plain values, as thorax.prediction gives it.

/** Return the prediction that these probabilities make, with what a reader must know of the image. */
export function predictionOf(model, probabilities, warnings) {
  const findings = Object.fromEntries(
    model.findings.map((name, at) => [name, findingOf(model, name, probabilities[at])])
  );
  return {
    source: "<file>",
    findings,
    operating_point: model.operating_point,
    model: {
      name: model.name,
      bundle_sha256: model.bundle_sha256,
      calibrated: model.calibration !== null,
      ...(model.statement && { statement: model.statement }),
    },
    warnings,
    ...(model.promise && { promise: model.promise }),
  };
}

function findingOf({ thresholds, undecided, prevalence }, name, probability) {
  const threshold = thresholds[name] ?? null;
  const band = undecided[name] ?? null;
  const positive = threshold === null ? null : probability >= threshold;
  return {
    probability,
    threshold,
    positive,
    decision: decision(probability, positive, band),
    ...(band && { undecided: band }),
    ...(name in prevalence && { prevalence: prevalence[name] }),
  };
}

function decision(probability, positive, band) {
  if (positive === null) return null;
  const [low, high] = band ?? [0, 0];
  if (low < high && low <= probability && probability <= high) return "not decided";
  return positive ? "yes" : "no";
}
