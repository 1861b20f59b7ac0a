// What a call means, in counts of patients: natural frequencies, which readers understand better than rates.

const ENOUGH = 5; // patients with the finding, so that they can be divided
const FEW = 20; // cases of which a share is given as it was counted, since "of 100" would claim more

/** Return counts among 1,000 patients, or more where the finding is rare, at a prevalence. */
export function frequencies(sensitivity, specificity, prevalence) {
  const of = [1000, 10000].find((number) => number * prevalence >= ENOUGH) ?? 100000;
  const have = Math.round(of * prevalence);
  const right = Math.round(have * sensitivity);
  const wrong = Math.round((of - have) * (1 - specificity));
  return { of, have, right, called: right + wrong, notCalled: of - right - wrong, missed: have - right };
}

/** Return the same as a sentence about those who would be called, or about the others. */
export function inWords(finding, decision, prevalence) {
  const { sensitivity, specificity } = finding;
  if (!sensitivity || !specificity) return "";
  const counts = frequencies(sensitivity.value, specificity.value, prevalence);
  const start = `Of ${count(counts.of)} such patients, ${count(counts.have)} ${counts.have === 1 ? "has" : "have"} it`;
  if (decision === "yes") return `${start}; ${count(counts.called)} would be called, ${count(counts.right)} of them rightly.`;
  if (decision === "not decided") return `${start}. Here the model gives no answer.`;
  return `${start}; ${count(counts.notCalled)} would not be called, and ${count(counts.missed)} of those have it.`;
}

/** Return a share as "1 in 4", or "6 in 10" where that says more. */
export function oneIn(share) {
  return share > 0.5 ? `${Math.round(10 * share)} in 10` : `1 in ${count(Math.round(1 / share))}`;
}

/** Return a measured share as "64 of 100 (36 to 85; 14 validation patients with it)". */
export function measured(share, whose) {
  const patients = `${count(share.patients)} validation ${share.patients === 1 ? "patient" : "patients"} ${whose} it`;
  return shareOf(share, share.images).replace(/\)?$/, `; ${patients})`);
}

/**
 * Return a share of `number` cases as "64 of 100 (36 to 85)", or as it was counted where they are few: "0 of 1",
 * with the interval in percent. Without an interval there is none.
 */
export function shareOf({ value, low, high }, number) {
  const [share, ...ends] = [value, low, high].filter((part) => part !== null).map((part) => Math.round(100 * part));
  if (number < FEW) {
    const counted = Number((value * number).toFixed(1)); // of several highest places, each counts as a part
    return `${counted} of ${number}${ends.length === 2 ? ` (${ends.join(" to ")} %)` : ""}`;
  }
  return `${share} of 100${ends.length === 2 ? ` (${ends.join(" to ")})` : ""}`;
}

/** Return the opposite of a share: what did not match. */
export const others = (share) => ({
  ...share, value: 1 - share.value, low: 1 - share.high, high: 1 - share.low, matching: share.images - share.matching,
});

/** Return a probability, which holds at one prevalence, for patients among whom the finding has another. */
export function atPrevalence(probability, from, to) {
  const odds = (part) => part / (1 - part);
  const shifted = odds(probability) * (odds(to) / odds(from));
  return Number.isFinite(shifted) ? shifted / (1 + shifted) : probability;
}

const separated = new Intl.NumberFormat("en-US"); // making one takes longer than all its uses

export const count = (number) => separated.format(number);
