# Makes data/irgt_unb.csv, point/irgt_unb.json and point/irgt_a_converged.json beside it: data with clusters of
# unequal size in the treated arm only, and what nlme, lme4, lmerTest and pbkrtest give for them; and nlme's
# fit of data/irgt_a.csv with tolerances that leave nothing to its default stopping rule.
# Run with: Rscript partially_nested.R
suppressPackageStartupMessages({library(nlme); library(lme4); library(lmerTest); library(pbkrtest); library(jsonlite)})

strict <- lmeControl(tolerance = 1e-12, msTol = 1e-14, maxIter = 500, msMaxIter = 500)
control <- lmerControl(
  optimizer = "bobyqa", check.conv.singular = "ignore", check.conv.grad = "ignore",
  check.conv.hess = "ignore", optCtrl = list(rhobeg = 0.1, rhoend = 1e-10, maxfun = 1e5))

by_arm <- function(formula, data) {
  fit <- nlme::lme(formula, random = list(cl_single = pdIdent(~ 0 + treat)),
                   weights = varIdent(form = ~ 1 | treat), data = data, control = strict)
  relative <- coef(fit$modelStruct$varStruct, unconstrained = FALSE, allCoef = TRUE)
  list(
    formula = deparse(formula), estimate = as.list(nlme::fixef(fit)), se = as.list(sqrt(diag(vcov(fit)))),
    var_cluster = as.numeric(nlme::getVarCov(fit)[1, 1]),
    resid_var = list(comparison = as.numeric((fit$sigma * relative["0"])^2),
                     treated = as.numeric((fit$sigma * relative["1"])^2)),
    reml_loglik = as.numeric(logLik(fit)))
}

common <- function(formula, data) {
  fit <- lmer(update(formula, . ~ . + (0 + treat | cl_single)), data = data, control = control)
  variances <- as.data.frame(VarCorr(fit))$vcov
  judged <- function(ddf) {
    row <- summary(fit, ddf = ddf)$coefficients["treat", ]
    list(se = row[["Std. Error"]], df = row[["df"]], p = row[["Pr(>|t|)"]])
  }
  list(
    formula = deparse(formula), estimate = as.list(lme4::fixef(fit)), var_cluster = variances[1],
    resid_var = variances[2], reml_criterion = as.numeric(REMLcrit(fit)), singular = isSingular(fit),
    satterthwaite = judged("Satterthwaite"), kenward_roger = judged("Kenward-Roger"))
}

written <- function(name, content) {
  packages <- sapply(c("nlme", "lme4", "lmerTest", "pbkrtest"), function(p) as.character(packageVersion(p)))
  software <- as.list(c(R = paste(R.version$major, R.version$minor, sep = "."), packages))
  write_json(c(list(id = name), content, list(software = software)), file.path("point", paste0(name, ".json")),
             auto_unbox = TRUE, digits = NA, pretty = TRUE)
}

formulas <- list(unadjusted = y ~ treat, adjusted = y ~ x + treat, adjusted_xw = y ~ x + w + treat)

irgt <- read.csv("data/irgt_a.csv")
written("irgt_a_converged", list(by_arm = lapply(formulas[1:2], by_arm, data = irgt)))

set.seed(26)
sizes <- c(1, 9, 4, 6, 2, 7, 5)
treat <- rep(0:1, c(30, sum(sizes)))
cl_single <- c(1:30, 30 + rep(seq_along(sizes), sizes))
n <- length(treat)
w <- ifelse(treat == 1, rnorm(37)[cl_single], rnorm(n))
x <- rnorm(n) + 0.3 * w
y <- 0.4 * treat + 0.5 * x - 0.2 * w + treat * 0.8 * rnorm(37)[cl_single] + rnorm(n) * ifelse(treat == 1, 0.8, 1.2)
made <- data.frame(id = seq_len(n), treat, cl_single, x = round(x, 6), w = round(w, 6), y = round(y, 6))
write.csv(made, "data/irgt_unb.csv", row.names = FALSE, quote = FALSE)
made <- read.csv("data/irgt_unb.csv")
written("irgt_unb", list(by_arm = lapply(formulas, by_arm, data = made), common = lapply(formulas, common, data = made)))
