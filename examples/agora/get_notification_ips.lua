local ips = app.integrations.agora.get_notification_ips({})
for _, host in ipairs(ips.data.service.hosts) do
  print(host.primaryIP)
end
