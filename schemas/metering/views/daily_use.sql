-- What each register of an account counted in a day, kWh.
SELECT
  account_id,
  mpan,
  register,
  date_trunc('day', read_at) AS day,
  max(kwh) - min(kwh) AS kwh
FROM metering_meter_reading_masked_v1
GROUP BY account_id, mpan, register, date_trunc('day', read_at)
