# Makes data/nested_unb.csv, data/wedge_unb.csv and point/nested_unb.json, point/wedge_unb.json beside it:
# unbalanced data with known structure, and what lme4, lmerTest and pbkrtest give for them.
# Run with: Rscript mixed_models.R
suppressPackageStartupMessages({library(lme4); library(lmerTest); library(pbkrtest); library(jsonlite)})

control <- lmerControl(
  optimizer = "bobyqa", check.conv.singular = "ignore", check.conv.grad = "ignore",
  check.conv.hess = "ignore", optCtrl = list(rhobeg = 0.1, rhoend = 1e-10, maxfun = 1e5))

described <- function(formula, data, effect) {
  fit <- lmer(formula, data = data, control = control)
  variances <- as.data.frame(VarCorr(fit))
  judged <- function(ddf) {
    row <- summary(fit, ddf = ddf)$coefficients[effect, ]
    list(se = row[["Std. Error"]], df = row[["df"]], p = row[["Pr(>|t|)"]])
  }
  list(
    formula = deparse(formula, width.cutoff = 200), n = nobs(fit), singular = isSingular(fit),
    variances = setNames(as.list(variances$vcov), gsub("_NA", "", paste(variances$grp, variances$var1, variances$var2, sep = "_"))),
    reml_criterion = as.numeric(REMLcrit(fit)), estimate = fixef(fit)[[effect]],
    satterthwaite = judged("Satterthwaite"), kenward_roger = judged("Kenward-Roger"))
}

written <- function(name, data, models, effect) {
  data[] <- lapply(data, function(column) if (is.double(column)) round(column, 6) else column)
  write.csv(data, file.path("data", paste0(name, ".csv")), row.names = FALSE, quote = FALSE)
  data <- read.csv(file.path("data", paste0(name, ".csv")))
  results <- lapply(models, described, data = data, effect = effect)
  software <- sapply(c("lme4", "lmerTest", "pbkrtest"), function(p) as.character(packageVersion(p)))
  software <- as.list(c(R = paste(R.version$major, R.version$minor, sep = "."), software))
  out <- list(id = name, lmer = results, software = software)
  write_json(out, file.path("point", paste0(name, ".json")), auto_unbox = TRUE, digits = NA, pretty = TRUE)
}

set.seed(20)
teams <- data.frame(authority = rep(1:8, times = c(2, 3, 4, 2, 3, 2, 4, 3)))
teams$team <- seq_len(nrow(teams))
workers <- teams[rep(teams$team, times = sample(1:4, nrow(teams), replace = TRUE)), ]
workers$worker <- seq_len(nrow(workers))
families <- workers[rep(workers$worker, times = sample(1:6, nrow(workers), replace = TRUE)), ]
n <- nrow(families)
families$treat <- as.integer(families$authority <= 4)
families$x <- rnorm(n) + 0.5 * rnorm(nrow(workers))[families$worker]
families$w <- rnorm(8)[families$authority]
families$y <- 1 + 0.4 * families$treat + 0.3 * families$x + 0.4 * rnorm(8)[families$authority] +
  0.4 * rnorm(nrow(teams))[families$team] + 0.5 * rnorm(nrow(workers))[families$worker] + rnorm(n)
families$flat <- 1 + rnorm(n)
written("nested_unb", families, list(
  worker = y ~ treat + (1 | authority) + (1 | worker),
  worker_x = y ~ x + treat + (1 | authority) + (1 | worker),
  team = y ~ treat + (1 | authority) + (1 | team),
  team_worker = y ~ treat + (1 | authority) + (1 | team) + (1 | worker),
  team_worker_xw = y ~ x + w + treat + (1 | authority) + (1 | team) + (1 | worker),
  flat_worker = flat ~ treat + (1 | authority) + (1 | worker),
  flat_team_worker = flat ~ x + treat + (1 | authority) + (1 | team) + (1 | worker)
), "treat")

cells <- expand.grid(occasion = 1:6, authority = 1:9)[, 2:1]
cells$start <- rep(c(2, 3, 4, 5, 6), length.out = 9)[cells$authority]
cells$cell <- seq_len(nrow(cells))
size <- sample(1:8, nrow(cells), replace = TRUE)
size[c(5, 20, 33)] <- 0
wedge <- cells[rep(cells$cell, times = size), ]
n <- nrow(wedge)
wedge$d <- as.integer(wedge$occasion >= wedge$start)
wedge$x <- rnorm(n)
slope <- 0.25 * rnorm(9)
wedge$y <- 2 + 0.3 * wedge$d + 0.2 * wedge$x + sin(wedge$occasion) / 3 + 0.5 * rnorm(9)[wedge$authority] +
  slope[wedge$authority] * (wedge$occasion - 1) + 0.4 * rnorm(nrow(cells))[wedge$cell] + rnorm(n)
wedge$time <- wedge$occasion - 1
wedge$period <- factor(wedge$occasion)
wedge$start <- wedge$cell <- NULL
written("wedge_unb", wedge, list(
  hussey_hughes = y ~ factor(occasion) + x + d + (1 | authority),
  nested_exchangeable = y ~ factor(occasion) + d + (1 | authority) + (1 | authority:occasion),
  nested_exchangeable_x = y ~ factor(occasion) + x + d + (1 | authority) + (1 | authority:occasion),
  slopes = y ~ factor(occasion) + d + (1 + time || authority),
  slopes_correlated = y ~ factor(occasion) + d + (1 + time | authority),
  slopes_by_occasion = y ~ factor(occasion) + x + d + (1 + time || authority) + (1 | authority:occasion),
  slopes_correlated_by_occasion = y ~ factor(occasion) + x + d + (1 + time | authority) + (1 | authority:occasion)
), "d")
