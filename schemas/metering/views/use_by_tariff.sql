-- Use by tariff and postcode area, made of the daily use and the profiles.
WITH daily AS (
  SELECT account_id, day, sum(kwh) AS kwh FROM daily_use GROUP BY account_id, day
)
SELECT p.tariff, p.address.postcode AS area, avg(d.kwh) AS mean_daily_kwh, count(DISTINCT d.account_id) AS accounts
FROM daily AS d
JOIN metering_account_profile_masked_v1 AS p ON p.account_id = d.account_id
GROUP BY p.tariff, p.address.postcode
