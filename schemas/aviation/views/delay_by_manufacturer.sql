-- How late aircraft of each manufacturer arrive. The join survives masking: a tail number has one pseudonym in both.
SELECT
  a.manufacturer,
  count(*) AS flights,
  avg(f.arr_delay) AS mean_arr_delay
FROM aviation_flight_masked_v1 AS f
JOIN aviation_aircraft_masked_v1 AS a ON a.tailnum = f.tailnum
WHERE f.arr_delay IS NOT NULL
GROUP BY a.manufacturer
