# Makes point/exposure_time.json beside it: effects by exposure time in the wedges data/sw_9x4.csv and
# data/wedge_unb.csv, and what lme4, lmerTest and pbkrtest give for their average and the longest one's,
# as contrasts of a model with a coefficient for each.
# Run with: Rscript exposure_time.R
suppressPackageStartupMessages({library(lme4); library(lmerTest); library(pbkrtest); library(jsonlite)})

control <- lmerControl(
  optimizer = "bobyqa", check.conv.singular = "ignore", check.conv.grad = "ignore",
  check.conv.hess = "ignore", optCtrl = list(rhobeg = 0.1, rhoend = 1e-10, maxfun = 1e5))

exposed <- function(data) {
  start <- ave(ifelse(data$d == 1, data$occasion, Inf), data$authority, FUN = min)
  data$exposure <- factor(pmax(data$occasion - start + 1, 0))
  data
}

described <- function(formula, data) {
  fit <- lmer(formula, data = data, control = control)
  at <- grep("^exposure", names(fixef(fit)))
  stopifnot(length(at) == nlevels(data$exposure) - 1)
  contrasts <- list(by_exposure_time = rep(1 / length(at), length(at)), longest_exposure = c(rep(0, length(at) - 1), 1))
  judged <- function(weights, ddf) {
    contrast <- rep(0, length(fixef(fit)))
    contrast[at] <- weights
    row <- contest1D(fit, contrast, ddf = ddf)
    list(estimate = row[["Estimate"]], se = row[["Std. Error"]], df = row[["df"]], p = row[["Pr(>|t|)"]])
  }
  c(list(formula = deparse(formula, width.cutoff = 200), n = nobs(fit), singular = isSingular(fit),
    reml_criterion = as.numeric(REMLcrit(fit)), effects = unname(fixef(fit)[at])),
    lapply(contrasts, function(w) list(
      satterthwaite = judged(w, "Satterthwaite"), kenward_roger = judged(w, "Kenward-Roger"))))
}

balanced <- read.csv(file.path("data", "sw_9x4.csv"))
names(balanced)[names(balanced) == "cluster"] <- "authority"
names(balanced)[names(balanced) == "period"] <- "occasion"
balanced <- exposed(balanced)
unbalanced <- exposed(read.csv(file.path("data", "wedge_unb.csv")))

results <- list(
  sw_9x4 = lapply(list(
    hussey_hughes = y ~ factor(occasion) + exposure + (1 | authority),
    nested_exchangeable = y ~ factor(occasion) + exposure + (1 | authority) + (1 | authority:occasion)
  ), described, data = balanced),
  wedge_unb = lapply(list(
    hussey_hughes = y ~ factor(occasion) + x + exposure + (1 | authority),
    nested_exchangeable = y ~ factor(occasion) + exposure + (1 | authority) + (1 | authority:occasion),
    nested_exchangeable_x = y ~ factor(occasion) + x + exposure + (1 | authority) + (1 | authority:occasion),
    slopes = y ~ factor(occasion) + exposure + (1 + time || authority),
    slopes_correlated = y ~ factor(occasion) + exposure + (1 + time | authority),
    slopes_by_occasion = y ~ factor(occasion) + x + exposure + (1 + time || authority) + (1 | authority:occasion)
  ), described, data = unbalanced))
software <- sapply(c("lme4", "lmerTest", "pbkrtest"), function(p) as.character(packageVersion(p)))
software <- as.list(c(R = paste(R.version$major, R.version$minor, sep = "."), software))
write_json(list(id = "exposure_time", lmer = results, software = software),
  file.path("point", "exposure_time.json"), auto_unbox = TRUE, digits = NA, pretty = TRUE)
