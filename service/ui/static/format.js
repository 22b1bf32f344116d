// Figures as people read them: the same text as wording.py writes.

export const NONE = "–";
const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** Write four significant digits, or three for a very small or large figure: 0.2929, 61.52, 1,235, 2.10e-5. */
export function number(value) {
  if (value === null || value === undefined) return NONE;
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1e6 || size < 1e-3) return value.toExponential(2).replace("e+", "e");
  return size >= 1000 ? grouped.format(value) : value.toPrecision(4);
}

export const count = (value) => grouped.format(value);

/** Round down: only the whole is 100 %. */
export const percent = (fraction) => `${Math.floor(fraction * 100)} %`;

export function duration(seconds) {
  if (seconds === null || !Number.isFinite(seconds)) return NONE;
  if (seconds < 10) return `${seconds.toFixed(seconds < 1 ? 2 : 1)} s`;
  const whole = Math.round(seconds);
  const padded = (part) => String(part).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${padded(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${padded(Math.floor((whole % 3600) / 60))} min`;
}

/** Write a metric's name in words: validation_r2 becomes validation R². */
export function metricName(name) {
  const words = { r2: "R²", rmse: "RMSE", mae: "MAE", f1: "F1", roc: "ROC", auc: "AUC" };
  return name.split("_").map((word) => words[word] ?? word).join(" ");
}

/** Return what the loss chart shows, in one sentence. first, last: points. best: null, or the best epoch so far. */
export function curveSummary(first, last, best) {
  if (!first) return "No epoch has ended.";
  if (first.epoch === last.epoch) {
    return `Train loss is ${number(first.train_loss)} after epoch ${count(first.epoch)}.`;
  }
  const verb = last.train_loss < first.train_loss ? "fell" : "went";
  const sentence = `Train loss ${verb} from ${number(first.train_loss)} to ${number(last.train_loss)} in ${count(last.epoch)} epochs`;
  if (!best || (best.validation_loss ?? null) === null) return `${sentence}.`;
  return `${sentence}; the best epoch is ${count(best.epoch)}, with a validation loss of ${number(best.validation_loss)}.`;
}
